"""Files that a running server reads again when they change. Knows no format."""

from pathlib import Path

from eyecatch.core.errors import InvalidInput, Violation

Version = tuple[int, int, int] | None


def read(field: str, path: Path) -> bytes:
    """Raises InvalidInput for the flag `field` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unusable(field, path, f"a file that can be read ({error.strerror})") from error


def unusable(field: str, path: Path, allowed: str) -> InvalidInput:
    """With the whole path, which InvalidInput.of would cut."""
    return InvalidInput([Violation(field, repr(str(path)), allowed)])


def version(path: Path) -> Version:
    """Another one after each change; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
