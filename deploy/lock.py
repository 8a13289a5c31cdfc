"""Writes deploy/locks: what the images install beside torch, each wheel by its hash. `python deploy/lock.py`, with pip 23 or later.

Versions are those of constraints.txt where it has them. Hashes are of the wheels for Linux on x86_64 alone: with those of every platform
the files would be ten times as long.
"""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = Path(__file__).parent / "locks"
PYTHON, TRITON_PYTHON = "3.11", "3.12"
"""Of the base images."""
SERVER = ["peft", "async-timeout"]
"""peft reads low-rank weights of checkpoints; redis needs async-timeout below Python 3.11.3, which Debian 12 has."""
LOCKED = {  # file: Python, extras, further packages, files that are installed before it
    "build": (PYTHON, None, ["hatchling"], []),
    "server": (PYTHON, "jwt,kafka,redis,triton", SERVER, []),
    "worker": (PYTHON, "jwt,kafka,redis,triton,peers,ray", [*SERVER, "ray[default]"], ["server"]),
    "s3": (PYTHON, "jwt,kafka,redis,triton,s3", SERVER, ["server"]),
    "gcs": (PYTHON, "jwt,kafka,redis,triton,gcs", SERVER, ["server"]),
    "triton": (TRITON_PYTHON, "", SERVER, []),
}
GLIBC = ["manylinux1", "manylinux2014", *(f"manylinux_2_{minor}" for minor in range(5, 29))]
TORCH_NEEDS = ["filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions"]


def write_locks() -> None:
    lines: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        stand_in_for_torch(Path(folder))
        for name, (python, extras, packages, before) in LOCKED.items():
            project = [] if extras is None else [f".[{extras}]" if extras else "."]
            wheels = dict(resolved(Path(folder), python, [*project, *packages]))
            lines[name] = {
                package: line for package, line in wheels.items() if all(package not in lines[b] for b in before)
            }
            how = f"# python deploy/lock.py: Python {python}, {' '.join([*project, *packages])}"
            LOCKS.joinpath(f"{name}.txt").write_text("\n".join([how, *sorted(lines[name].values())]) + "\n")


def stand_in_for_torch(folder: Path) -> None:
    """A wheel without torch in it: each image has torch from another index, and its CUDA packages are pinned by torch itself."""
    (version,) = re.findall(r'"torch==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    about = f"torch-{version}+elsewhere.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}+elsewhere-py3-none-any.whl", "w") as wheel:
        needs = "".join(f"Requires-Dist: {each}\n" for each in TORCH_NEEDS)
        wheel.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}+elsewhere\n{needs}"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: lock\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")


def resolved(folder: Path, python: str, requirements: list[str]) -> Iterator[tuple[str, str]]:
    """Name and line of each wheel that pip would install. Raises CalledProcessError."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--target", str(folder / "none"), "--find-links", str(folder), "--report", str(report)]
    command += ["--python-version", python, "--only-binary", ":all:", "--constraint", "constraints.txt"]
    command += [part for glibc in GLIBC for part in ("--platform", f"{glibc}_x86_64")]
    subprocess.run([*command, *requirements], check=True, cwd=ROOT)
    for each in json.loads(report.read_text())["install"]:
        name = re.sub(r"[-_.]+", "-", each["metadata"]["name"]).lower()
        archive = each["download_info"].get("archive_info")
        if archive and name != "torch":
            yield name, f"{name}=={each['metadata']['version']} --hash=sha256:{archive['hashes']['sha256']}"


if __name__ == "__main__":
    write_locks()
