"""The embedded store: one file, one process, no server.

    store = SqliteStore.open(folder)      # StoreLocked, StoreTooNew or StoreError if it cannot be opened
    store.catalog, store.profiles, store.vectors, store.decisions, store.queue, store.notes
    store.close()

For one process with one event loop. Every write is on disk when it returns.
"""

import time
from pathlib import Path

from eyecatch.core.ports import Clock
from eyecatch.core.types import UNLIMITED, Budget
from eyecatch.stores.sqlite.cache import EmbeddingCache
from eyecatch.stores.sqlite.catalog import SqliteCatalog
from eyecatch.stores.sqlite.connection import Database
from eyecatch.stores.sqlite.decisions import SqliteDecisions
from eyecatch.stores.sqlite.notes import SqliteNotes
from eyecatch.stores.sqlite.profiles import SqliteProfiles
from eyecatch.stores.sqlite.queue import SqliteQueue
from eyecatch.stores.sqlite.vectors import SqliteVectors

__all__ = ["SqliteStore"]


class SqliteStore:
    """The six ports on one file."""

    def __init__(self, database: Database, max_waiting_jobs: int, budget: Budget = UNLIMITED) -> None:
        self._database = database
        embeddings = EmbeddingCache()
        database.on_rollback(embeddings.clear)
        self.catalog = SqliteCatalog(database, embeddings)
        self.profiles = SqliteProfiles(database, embeddings)
        self.vectors = SqliteVectors(database, self.profiles)
        self.decisions = SqliteDecisions(database)
        self.queue = SqliteQueue(database, max_waiting_jobs, budget)
        self.notes = SqliteNotes(database)
        self.clock: Clock = time.time
        self.life = None

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        max_waiting_jobs: int = 1000,
        max_bytes: int = 0,
        budget: Budget = UNLIMITED,
        read_only: bool = False,
    ) -> "SqliteStore":
        """Open or create the store in `folder`. `max_bytes`: limit of the file's size, 0 for none.

        read_only: open one that exists, also while another process uses it; a write raises StoreError.
        """
        return cls(Database(Path(folder), max_bytes, read_only), max_waiting_jobs, budget)

    def close(self) -> None:
        self._database.close()
