"""The file and its three connections: one writes on its own thread, one reads on the caller's thread, one scans on another thread.

A point read takes about 20 microseconds and a thread switch 100, so the fast path reads on the caller's thread. Knows no table.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from eyecatch.core.errors import StoreError, Unavailable
from eyecatch.stores.sqlite.errors import translate, translated
from eyecatch.stores.sqlite.lock import FolderLock
from eyecatch.stores.sqlite.schema import check_newest, migrate
from eyecatch.stores.sqlite.writer import Writer

T = TypeVar("T")

DATABASE_FILE = "eyecatch.db"
MMAP_BYTES = 1 << 30
CHECKED_BYTES = 1 << 28
"""A file up to this size is checked at the start, which takes some tenths of a second."""
Row = tuple[Any, ...]


class Database:
    """An open store file. Raises StoreLocked, StoreTooNew or StoreError if it cannot be opened.

    read_only: without the lock, so beside a process that has it; raises StoreError too if there is no file, or an old one.
    """

    def __init__(self, folder: Path, max_bytes: int = 0, read_only: bool = False) -> None:
        try:
            if not read_only:
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = None if read_only else FolderLock(folder)
        except OSError as error:
            raise StoreError(f"cannot use {folder} as the data folder: {error.strerror or error}") from error
        self._rollback_hooks: list[Callable[[], None]] = []
        connections: list[sqlite3.Connection] = []
        try:
            with translated():
                for _ in range(3):
                    connections.append(_connect(folder / DATABASE_FILE, read_only))
                    if len(connections) == 1 and not read_only:
                        _check_whole(connections[0], folder / DATABASE_FILE)
                        migrate(connections[0])
                    elif len(connections) == 1:
                        check_newest(connections[0])
                writing, self._inline, self._scanning = connections
                if max_bytes:
                    page = int(writing.execute("PRAGMA page_size").fetchone()[0])
                    writing.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page)}")
                for reading in connections if read_only else (self._inline, self._scanning):
                    reading.execute("PRAGMA query_only = ON")
        except Unavailable as error:
            raise self._refuse(connections, StoreError(f"cannot open {folder / DATABASE_FILE}: {error}")) from error
        except StoreError as error:
            raise self._refuse(connections, error) from error.__cause__
        self._writing = writing
        self._writer = Writer(writing, self._rolled_back)
        self._reader = ThreadPoolExecutor(1, "eyecatch-sqlite-reader")
        self._closed = False

    def _refuse(self, connections: list[sqlite3.Connection], error: StoreError) -> StoreError:
        for connection in connections:
            connection.close()
        if self._lock is not None:
            self._lock.release()
        return error

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """A point read on the calling thread."""
        if self._closed:
            raise Unavailable("the store is closed")
        try:  # not `with translated()`: this runs for every recommendation
            return self._inline.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise translate(error) from error

    def row(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first row of a point read, or None."""
        rows = self.read(sql, parameters)
        return rows[0] if rows else None

    async def scan(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """A longer read on the reader thread."""
        return await self.run_reader(lambda connection: connection.execute(sql, parameters).fetchall())

    async def run_reader(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Call `run` on the reader thread; writes go on meanwhile."""
        if self._closed:
            raise Unavailable("the store is closed")
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._reader, run, self._scanning)

    async def write(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """See Writer.write."""
        return await self._writer.write(run)

    def on_rollback(self, hook: Callable[[], None]) -> None:
        """Call `hook` in the writer's thread after each rollback, so that caches of the changed rows are dropped."""
        self._rollback_hooks.append(hook)

    def _rolled_back(self) -> None:
        for hook in self._rollback_hooks:
            hook()

    def close(self) -> None:
        """Finish waiting writes, merge the log into the file and release the lock. A second call does nothing."""
        if self._closed:
            return
        self._writer.close()
        self._closed = True
        self._reader.shutdown()
        for connection in (self._scanning, self._inline, self._writing):
            connection.close()
        if self._lock is not None:
            self._lock.release()


def _check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError for a file with damaged pages; without it they are met one by one, long after the start."""
    if path.stat().st_size <= CHECKED_BYTES:
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise StoreError(f"{path} is damaged ({problem.splitlines()[-1]}); restore a backup")


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    mode = "rw" if read_only else "rwc"  # a reader has to write the file of WAL's shared memory
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        timeout=10.0,
    )
    for pragma in (
        *(() if read_only else ("journal_mode = WAL",)),
        "synchronous = FULL",  # an acknowledged write survives power loss
        "foreign_keys = ON",
        "secure_delete = FAST",  # overwrites deleted data if that needs no extra page
        f"mmap_size = {MMAP_BYTES}",
        "cache_size = -32768",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection
