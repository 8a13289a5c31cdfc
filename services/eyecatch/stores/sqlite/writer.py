"""The only thread that writes. Writes that wait at the same time share a transaction and its fsync, but fail separately.

Knows functions of a connection and their results, and no table.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any, TypeVar

from eyecatch.core.errors import Overloaded, Unavailable
from eyecatch.stores.sqlite.errors import translate

T = TypeVar("T")

MAX_WAITING = 10_000
MAX_GROUP = 256


class _RolledBack(Exception):
    """SQLite rolled the whole transaction back because of one statement, for example on a full disk."""


@dataclass(frozen=True, eq=False)
class _Write:
    run: Callable[[sqlite3.Connection], Any]
    future: "Future[Any]"


class Writer:
    """`write` returns when the transaction is on disk. `on_rollback` is called after each rollback."""

    def __init__(self, connection: sqlite3.Connection, on_rollback: Callable[[], None]) -> None:
        self._connection = connection
        self._on_rollback = on_rollback
        self._waiting: Queue[_Write | None] = Queue(MAX_WAITING)
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="eyecatch-sqlite-writer", daemon=True)
        self._thread.start()

    async def write(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Call `run` inside a transaction in the writer's thread; returns its result when it is on disk.

        If another write of the group breaks the transaction, `run` is called again, so it must change nothing else.
        """
        if self._closed:
            raise Unavailable("the store is closed")
        if self._waiting.qsize() >= MAX_WAITING - 1:
            raise Overloaded(f"{MAX_WAITING} writes are waiting for the disk")
        future: Future[T] = Future()
        self._waiting.put_nowait(_Write(run, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish the waiting writes, then stop."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
            self._thread.join()

    def _loop(self) -> None:
        stop = False
        while not stop:
            group: list[_Write] = []
            entry = self._waiting.get()
            while True:
                if entry is None:
                    stop = True
                    break
                if entry.future.set_running_or_notify_cancel():
                    group.append(entry)
                if len(group) >= MAX_GROUP:
                    break
                try:
                    entry = self._waiting.get_nowait()
                except Empty:
                    break
            if group:
                self._commit(group)

    def _commit(self, group: list[_Write]) -> None:
        """Commit the group and complete its futures. If the transaction breaks, each write gets one of its own."""
        try:
            outcomes = self._transaction(group)
        except (sqlite3.Error, _RolledBack) as error:
            self._roll_back()
            if len(group) > 1:
                for entry in group:
                    self._commit([entry])
                return
            cause = error.__cause__ if isinstance(error, _RolledBack) else error
            group[0].future.set_exception(translate(cause) if isinstance(cause, sqlite3.Error) else cause)
            return
        for entry, (result, failure) in zip(group, outcomes, strict=True):
            if failure is not None:
                entry.future.set_exception(failure)
                continue
            entry.future.set_result(result)

    def _transaction(self, group: list[_Write]) -> list[tuple[Any, Exception | None]]:
        connection = self._connection
        outcomes: list[tuple[Any, Exception | None]] = []
        connection.execute("BEGIN IMMEDIATE")
        for entry in group:
            connection.execute("SAVEPOINT entry")
            try:
                outcomes.append((entry.run(connection), None))
            except Exception as error:  # the consumer loop: an error is for the caller of one write
                if not connection.in_transaction:
                    raise _RolledBack from error
                connection.execute("ROLLBACK TO entry")
                self._on_rollback()
                outcomes.append((None, translate(error) if isinstance(error, sqlite3.Error) else error))
            connection.execute("RELEASE entry")
        connection.execute("COMMIT")
        return outcomes

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._on_rollback()
