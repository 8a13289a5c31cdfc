"""The absorbing loop: batches from the buffer -> dead letters and profiles, both acknowledged -> done. Knows no Kafka client."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from eyecatch.core.errors import StoreDamaged
from eyecatch.core.ports import Encoder, ProfileStore
from eyecatch.core.types import Event, Position
from eyecatch.ingest.buffer import Buffer, Chunk
from eyecatch.ingest.dlq import letter
from eyecatch.ingest.health import Health
from eyecatch.ingest.metrics import Metrics
from eyecatch.ingest.patience import Patience
from eyecatch.ingest.producer import Outgoing
from eyecatch.ingest.records import Poison, Reason, Record, decode

log = structlog.get_logger(__name__)

STORE, DEAD_LETTERS = "store", "dead letters"
# Sent at once: a slow broker must have time for them within its timeout, or they are all sent again.
LETTERS_MAX = 1000
LINGER_S = 0.05

Arrival = tuple[Event, Position, Record]


class Outbox(Protocol):
    async def send(self, records: Sequence[Outgoing]) -> None:
        """Returns when the brokers have all of them. Raises Unavailable, NotReady."""


class Loop:
    """One batch at a time, in the order of arrival: a position says that everything before it was absorbed."""

    def __init__(
        self,
        buffer: Buffer,
        done: Callable[[Sequence[Chunk]], None],
        profiles: ProfileStore,
        encoder: Encoder,
        outbox: Outbox,
        topic: str,
        batch_max: int,
        give_up_s: float,
        health: Health,
        metrics: Metrics,
    ) -> None:
        self._buffer, self._done = buffer, done
        self._profiles, self._encoder, self._outbox = profiles, encoder, outbox
        self._topic, self._batch_max = topic, batch_max
        self._metrics, self._patient = metrics, Patience(health, metrics, give_up_s)

    async def run(self) -> None:
        """Until the buffer is closed and empty. Raises Unavailable when a trouble lasts, and what cannot pass at once."""
        while chunks := await self._buffer.take(self._batch_max, LINGER_S):
            await self._batch(chunks)
            self._done(chunks)
            self._metrics.buffered.set(len(self._buffer))

    async def _batch(self, chunks: Sequence[Chunk]) -> None:
        now = time.time()
        arrivals: list[Arrival] = []
        poison: list[tuple[Record, Poison]] = []
        oldest = now
        for chunk in chunks:
            name, partition = chunk.log.name(self._topic), chunk.partition.partition
            oldest = min(oldest, chunk.records[0].timestamp / 1000)
            for record in chunk.records:
                found = decode(record, now)
                if isinstance(found, Poison):
                    poison.append((record, found))
                else:
                    arrivals.append((found, Position(name, partition, record.offset), record))
        if poison:
            await self._bury(poison)
        if arrivals:
            with self._metrics.absorb_s.time():
                new = await self._absorb(arrivals)
            self._metrics.events.labels("new").inc(new)
            self._metrics.events.labels("known").inc(len(arrivals) - new)
            self._metrics.age_s.observe(max(time.time() - oldest, 0.0))

    async def _bury(self, poison: Sequence[tuple[Record, Poison]]) -> None:
        letters = [letter(record, found) for record, found in poison]
        for first in range(0, len(letters), LETTERS_MAX):
            await self._patient(DEAD_LETTERS, partial(self._outbox.send, letters[first : first + LETTERS_MAX]))
        counts = Counter(found.reason for _, found in poison)
        for reason, count in counts.items():
            self._metrics.poison.labels(reason).inc(count)
        log.warning("dead_letters", **{str(reason): count for reason, count in counts.items()})

    async def _absorb(self, arrivals: Sequence[Arrival]) -> int:
        """How many were new. One user's damaged profile must not hold up the others: halves until it stands alone."""
        events, positions, _ = zip(*arrivals, strict=True)
        try:
            return await self._patient(STORE, lambda: self._profiles.absorb(events, self._encoder, positions))
        except StoreDamaged as error:
            users = sorted({event.user_id for event in events})
            if len(users) == 1:
                await self._bury([(record, Poison(Reason.DAMAGED_PROFILE, str(error))) for _, _, record in arrivals])
                return 0
            first = set(users[: len(users) // 2])
            halves = [a for a in arrivals if a[0].user_id in first], [a for a in arrivals if a[0].user_id not in first]
            return await self._absorb(halves[0]) + await self._absorb(halves[1])
