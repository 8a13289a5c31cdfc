"""The liveness probe of the Triton workload, against the real server."""

import re
import subprocess
from pathlib import Path

from tests.triton import REPOSITORY, Triton
from tests.unit.deploy.kustomize import PRODUCTION, built, pods, secret


def test_the_liveness_probe_counts_the_processes_of_the_models(triton_server: Triton, tmp_path: Path) -> None:
    """One process for each model, under the name that the probe looks for."""
    container = pods(built(PRODUCTION, tmp_path), secret(PRODUCTION))["eyecatch-triton"].container
    command = container["livenessProbe"]["exec"]["command"]
    assert subprocess.run(command, check=False).returncode == 0
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in triton_server.model_processes()]
    (pattern,) = re.findall(r'grep -c "(.*?)"', command[-1])
    assert all(
        subprocess.run(["grep", "-q", pattern], input=stat, text=True, check=False).returncode == 0 for stat in stats
    )
    dead = re.sub(r"\) \w ", ") Z ", stats[0])
    assert subprocess.run(["grep", "-q", pattern], input=dead, text=True, check=False).returncode == 1
    models = len([path for path in REPOSITORY.iterdir() if (path / "config.pbtxt").is_file()])
    assert f"-ge {models}" in command[-1]
    assert len(stats) == models
    assert triton_server.process.poll() is None
