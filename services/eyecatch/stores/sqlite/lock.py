"""A lock for one process per data folder: advisory, and released by the kernel when its holder dies. Knows no SQLite."""

import fcntl
import os
from pathlib import Path

from eyecatch.core.errors import StoreLocked

LOCK_FILE = "eyecatch.lock"


class FolderLock:
    """Locked from construction to `release`. Raises StoreLocked, which names the folder and the holder's pid."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreLocked(
                f"{folder} is in use by process {holder}; stop that process, or give this one another data folder"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        # The file stays: if it was deleted, two processes could lock two different files of one name.
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
