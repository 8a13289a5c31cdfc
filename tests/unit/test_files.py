"""Files that are read again when they change."""

from pathlib import Path

import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.files import Watched
from structlog.testing import capture_logs


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("first")
    return path


def refuse_bad(taken: list[bytes], data: bytes) -> None:
    if data == b"bad":
        raise InvalidInput.of("file", data, "another")
    taken.append(data)


def test_a_file_is_taken_at_once_and_after_each_change(file: Path) -> None:
    taken: list[bytes] = []
    watched = Watched("file", file, taken.append)
    watched.look()
    file.write_text("second, longer")
    watched.look()
    watched.look()
    assert taken == [b"first", b"second, longer"]


def test_a_file_that_takes_the_place_of_another_is_a_change(file: Path, tmp_path: Path) -> None:
    """As Kubernetes does it with the files of a Secret."""
    taken: list[bytes] = []
    link = tmp_path / "link"
    link.symlink_to(file)
    watched = Watched("file", link, taken.append)
    (tmp_path / "other").write_text("other")
    (tmp_path / "new").symlink_to(tmp_path / "other")
    (tmp_path / "new").rename(link)
    watched.look()
    assert taken == [b"first", b"other"]


@pytest.mark.parametrize("change", [lambda file: file.write_text("bad"), Path.unlink])
def test_a_change_that_is_refused_is_logged_once(file: Path, change: object) -> None:
    taken: list[bytes] = []
    watched = Watched("file", file, lambda data: refuse_bad(taken, data))
    change(file)  # type: ignore[operator]
    with capture_logs() as lines:
        watched.look()
        watched.look()
    assert [line["event"] for line in lines] == ["file_not_reloaded"]
    assert taken == [b"first"]
