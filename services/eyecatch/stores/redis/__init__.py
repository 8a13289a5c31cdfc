"""The shared store: any server or cluster that speaks the Redis protocol (Redis, Valkey, Kvrocks).

    store = await RedisStore.open("redis://host:6379/0")      # Unavailable, StoreFull, StoreTooNew or StoreError if it cannot be opened
    store.catalog, store.profiles, store.vectors, store.decisions, store.queue, store.notes
    await store.close()

Several processes may share it. How much a crash of the server can lose depends on its configuration: docs/stores.md.
"""

from eyecatch.stores.redis.catalog import RedisCatalog
from eyecatch.stores.redis.clock import StoreClock
from eyecatch.stores.redis.decisions import RedisDecisions
from eyecatch.stores.redis.embeddings import CatalogEmbeddings
from eyecatch.stores.redis.layout import check_layout
from eyecatch.stores.redis.life import Life
from eyecatch.stores.redis.link import Link
from eyecatch.stores.redis.log import EventLog
from eyecatch.stores.redis.notes import RedisNotes
from eyecatch.stores.redis.profiles import RedisProfiles
from eyecatch.stores.redis.queue import DEFAULTS, QueueOptions, RedisQueue
from eyecatch.stores.redis.vectors import RedisVectors

__all__ = ["QueueOptions", "RedisStore"]

DAY_S = 24 * 3600


class RedisStore:
    """The six ports on one server or cluster."""

    def __init__(
        self,
        link: Link,
        queue: QueueOptions = DEFAULTS,
        max_log: int = 1_000_000,
        retention_days: int = 30,
    ) -> None:
        self._link = link
        embeddings = CatalogEmbeddings(link)
        self.catalog = RedisCatalog(link, embeddings)
        self.decisions = RedisDecisions(link, retention_days * DAY_S)
        self.profiles = RedisProfiles(link, embeddings, EventLog(link, max_log), self.decisions)
        self.vectors = RedisVectors(link, self.profiles)
        self.clock = StoreClock(link)
        self.queue = RedisQueue(link, queue, self.clock)
        self.notes = RedisNotes(link)
        self.life = Life(link)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        queue: QueueOptions = DEFAULTS,
        max_log: int = 1_000_000,
        retention_days: int = 30,
    ) -> "RedisStore":
        """`max_log`: events kept in the log (0: none, Kafka is the log). Decisions are kept for `retention_days`."""
        link = await Link.open(url)
        try:
            await check_layout(link)
            store = cls(link, queue, max_log, retention_days)
            await store.clock.read()
        except BaseException:
            await link.close()
            raise
        return store

    async def close(self) -> None:
        await self.clock.close()
        await self._link.close()
