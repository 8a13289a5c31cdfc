"""The locks of the images agree with constraints.txt, with each other and with what the package asks for."""

import re
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from eyecatch import __version__
from fsspec.registry import known_implementations

ROOT = Path(__file__).parents[3]
LOCKS = sorted((ROOT / "deploy" / "locks").glob("*.txt"))


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(path: Path) -> dict[str, str]:
    lines = [line.split()[0] for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {key(name): version for name, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_each_package_has_one_hash_and_the_version_of_the_constraints(path: Path) -> None:
    lines = path.read_text().splitlines()[1:]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==\S+ --hash=sha256:[0-9a-f]{64}", line)] == []
    tested = versions(ROOT / "constraints.txt")
    assert {name: version for name, version in versions(path).items() if tested.get(name, version) != version} == {}


def test_locks_that_are_installed_together_name_one_version_of_a_package() -> None:
    together: dict[str, set[str]] = {}
    for path in LOCKS:
        for name, one in versions(path).items():
            together.setdefault(name, set()).add(one)
    assert {name: several for name, several in together.items() if len(several) > 1} == {}


@pytest.mark.parametrize("lock", ["server", "triton"])
def test_they_have_every_dependency_of_the_package(lock: str) -> None:
    names = {key(re.split(r"[<>=\[;]", each)[0]) for each in requires("eyecatch") or [] if "extra" not in each}
    assert names - versions(ROOT / "deploy" / "locks" / f"{lock}.txt").keys() == {"torch"}


@pytest.mark.parametrize("lock", ["server", "triton"])
def test_images_read_low_rank_weights(lock: str) -> None:
    assert "peft" in versions(ROOT / "deploy" / "locks" / f"{lock}.txt")


def test_the_image_has_a_client_of_the_overlays_object_store() -> None:
    """Without one `generate` ends at its start, again and again."""
    settings = (ROOT / "deploy" / "k8s" / "overlays" / "production" / "settings.env").read_text()
    (scheme,) = re.findall(r"EYECATCH_BLOB_URL=(\w+)://", settings)
    (blobs,) = re.findall(r"ARG BLOBS=(\S+)", (ROOT / "deploy" / "Dockerfile").read_text())
    client = known_implementations[scheme]["class"].split(".")[0]
    assert client in versions(ROOT / "deploy" / "locks" / f"{blobs}.txt")


@pytest.mark.parametrize("name", ["Dockerfile", "triton.Dockerfile"])
def test_images_install_the_torch_of_the_package(name: str) -> None:
    (torch,) = re.findall(r'"(torch==[\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert set(re.findall(r"torch==[\d.]+", (ROOT / "deploy" / name).read_text())) == {torch}


@pytest.mark.parametrize("name", ["Dockerfile", "triton.Dockerfile"])
def test_labels_of_images_have_the_version_of_the_package(name: str) -> None:
    assert re.findall(r"ARG VERSION=(\S+)", (ROOT / "deploy" / name).read_text()) == [version("eyecatch")]


def test_the_program_says_the_version_of_the_package() -> None:
    assert __version__ == version("eyecatch")
