"""Errors of SQLite -> errors of the core. Messages name the file's problem, never a user."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from eyecatch.core.errors import EyecatchError, StoreError, StoreFull, Unavailable

_FULL = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def translate(error: sqlite3.Error) -> EyecatchError:
    """StoreFull if the disk or the store is full, StoreError if the file is damaged, else Unavailable."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code in _FULL:
        return StoreFull(f"the store is full ({error}); free disk space or raise its size limit", 30.0)
    if code & 0xFF in _BROKEN:
        return StoreError(f"the store's file is damaged ({error}); restore it from a backup")
    if code & 0xFF == sqlite3.SQLITE_READONLY:
        return Unavailable(f"the store cannot be written ({error}); check the permissions of its folder", 30.0)
    return Unavailable(f"the store does not answer ({error})")


@contextmanager
def translated() -> Iterator[None]:
    """Turn sqlite3.Error that is raised inside into an error of the core."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error) from error
