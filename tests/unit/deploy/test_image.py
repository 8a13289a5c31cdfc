"""The CPU image, built by buildah on a Debian that mmdebstrap makes, and run. Needs root, both tools and a package registry."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.servers import free_port, until

ROOT = Path(__file__).parents[3]
TOOLS = [tool for tool in ("buildah", "mmdebstrap") if shutil.which(tool) is None]
TORCH = re.findall(r'"(torch==[\d.]+)"', (ROOT / "pyproject.toml").read_text())
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CHROOT = ["--isolation", "chroot"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(TOOLS) or os.geteuid() != 0, reason=f"needs root and {' and '.join(TOOLS)}"),
]


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian 12 with its Python 3.11, in place of python:3.11-slim, which is in a registry of images."""
    archive = tmp_path_factory.mktemp("base") / "base.tar"
    packages = "python3,python3-venv,ca-certificates"
    run("mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", archive)
    container = run("buildah", "from", "scratch")
    run("buildah", "add", container, archive, "/")
    image = run("buildah", "commit", "--quiet", "--rm", container)
    yield image
    run("buildah", "rmi", "--force", image)


@pytest.fixture(scope="module")
def image(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The target `server`, with torch from where this machine's pip finds it."""
    wheels = tmp_path_factory.mktemp("torch")
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, *TORCH)
    settings = tmp_path_factory.mktemp("pip") / "pip.conf"
    settings.write_text(f"[global]\ncert = {CERTIFICATES}\n")
    volumes = [f"{wheels}:/torch:ro", f"{settings}:/etc/pip.conf:ro", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    command = ["buildah", "build", "--quiet", *CHROOT, "--file", "deploy/Dockerfile", "--target", "server"]
    command += [f"--volume={volume}" for volume in volumes]
    command += [f"--build-arg=BASE={base}", "--build-arg=TORCH_FROM=--no-index --find-links /torch"]
    built = run(*command, ".")
    yield built
    run("buildah", "rmi", "--force", built)


@pytest.fixture
def container(image: str) -> Iterator[str]:
    name = run("buildah", "from", image)
    yield name
    run("buildah", "rm", name)


def test_it_has_what_s3_and_low_rank_weights_need(container: str) -> None:
    run(
        "buildah",
        "run",
        *CHROOT,
        container,
        "--",
        "python3",
        "-c",
        "import s3fs, peft, kafka, redis, tritonclient.grpc",
    )


def test_it_serves_as_its_user_and_writes_only_to_its_folders(container: str, tmp_path: Path) -> None:
    port, health = free_port(), free_port()
    folders = {"/tmp": tmp_path / "tmp", "/var/lib/eyecatch": tmp_path / "data"}
    for folder in folders.values():
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
    command = ["buildah", "run", *CHROOT, "--env", "HOME=/tmp"]
    command += [f"--volume={folder}:{inside}" for inside, folder in folders.items()]
    command += [container, "--", "eyecatch", "serve", "--port", str(port), "--health-port", str(health)]
    began = time.time()
    with subprocess.Popen([*command, "--data-dir", "/var/lib/eyecatch"], cwd=ROOT) as server:
        try:
            until(lambda: server.poll() is not None or _serving(health), "an answer", 180)
            assert server.poll() is None
        finally:
            server.terminate()
            server.wait(60)
    assert (tmp_path / "data" / "eyecatch.db").stat().st_uid == 10001
    root = Path(run("buildah", "mount", container))
    changed = [path for path in (root / "opt").rglob("*") if path.lstat().st_mtime > began]
    assert changed == []


def _serving(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
