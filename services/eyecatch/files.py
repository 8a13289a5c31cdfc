"""Files that a running process reads again when they change. Knows no format."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from eyecatch.core.errors import InvalidInput, Violation

log = structlog.get_logger(__name__)

Version = tuple[int, int, int] | None
EVERY_S = 1.0


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


class Watched:
    """A file whose content has been taken, and is taken again after each change."""

    def __init__(self, field: str, path: Path, take: Callable[[bytes], None]) -> None:
        """Raises InvalidInput for the flag `field` if the file cannot be read, and whatever `take` raises."""
        self._field, self._path, self._take = field, path, take
        # Before it is read: a change meanwhile is noticed at the next look.
        self._version = version(path)
        take(read(field, path))

    def look(self) -> None:
        """Take the content again if the file has changed. One that is refused (InvalidInput) is logged once, and changes nothing."""
        now = version(self._path)
        if now == self._version:
            return
        self._version = now
        try:
            self._take(read(self._field, self._path))
        except InvalidInput as error:
            log.error("file_not_reloaded", flag=self._field, why=str(error), effect="what was read before stays")

    async def watch(self, every_s: float = EVERY_S) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            self.look()
