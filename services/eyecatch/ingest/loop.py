"""The absorbing loop: batches of records -> profiles or dead letters, acknowledged -> done. Knows no Kafka client."""

import time
from collections import Counter
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import NamedTuple

import structlog

from eyecatch.core.errors import StoreDamaged
from eyecatch.core.ports import Encoder, ProfileStore
from eyecatch.core.types import Event, Position
from eyecatch.ingest.events import Reason, decode, decode_all
from eyecatch.ingest.metrics import Metrics
from eyecatch.kafka.buffer import Buffer, Chunk
from eyecatch.kafka.dead_letters import dead_letter
from eyecatch.kafka.producer import Outbox
from eyecatch.kafka.records import Poison, Record
from eyecatch.kafka.retry import DEAD_LETTERS, STORE, Retry
from eyecatch.observe.health import Health

log = structlog.get_logger(__name__)

# Sent together: a slow broker must manage them within its timeout, or all of them are sent again.
LETTERS_MAX = 1000
LINGER_S = 0.05

_made = tuple.__new__  # at most half of what a named tuple's own takes


class Arrivals(NamedTuple):
    """The events of a batch, in the order of arrival: columns of equal length."""

    events: list[Event]
    places: list[Position]
    records: list[Record]

    def add(self, chunk: Chunk, topic: str, now: float) -> list[tuple[Record, Poison]]:
        """Add the events of a chunk; returns the records that hold none, with the reason."""
        name, partition, records = chunk.log.name(topic), chunk.partition.partition, chunk.records
        poison: list[tuple[Record, Poison]] = []
        events = decode_all(records, now)
        if events is None:
            found = [(decode(record, now), record) for record in records]
            poison = [(record, bad) for bad, record in found if isinstance(bad, Poison)]
            good = [(event, record) for event, record in found if not isinstance(event, Poison)]
            events, records = [event for event, _ in good], [record for _, record in good]
        self.events.extend(events)
        self.places.extend([_made(Position, (name, partition, record.offset)) for record in records])
        self.records.extend(records)
        return poison

    def of(self, users: Set[str]) -> "Arrivals":
        rows = [row for row in zip(*self, strict=True) if row[0].user_id in users]
        return Arrivals(*map(list, zip(*rows, strict=True)))


class Loop:
    """Absorbs one batch at a time, in the order of arrival, because a position says that everything before it was absorbed."""

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
        self._metrics, self._patient = metrics, Retry(health, metrics, give_up_s)

    async def run(self) -> None:
        """Run until the buffer is closed and empty. Raises Unavailable if a server stays unreachable, other errors at once."""
        while chunks := await self._buffer.take(self._batch_max, LINGER_S):
            await self._batch(chunks)
            self._done(chunks)
            self._metrics.buffered.set(len(self._buffer))

    async def _batch(self, chunks: Sequence[Chunk]) -> None:
        now = time.time()
        arrivals = Arrivals([], [], [])
        poison: list[tuple[Record, Poison]] = []
        for chunk in chunks:
            poison += arrivals.add(chunk, self._topic, now)
        if poison:
            await self._bury(poison)
        if arrivals.events:
            with self._metrics.absorb_s.time():
                new = await self._absorb(arrivals)
            self._metrics.events.labels("new").inc(new)
            self._metrics.events.labels("known").inc(len(arrivals.events) - new)
            oldest = min(chunk.records[0].timestamp for chunk in chunks) / 1000
            self._metrics.age_s.observe(max(time.time() - oldest, 0.0))

    async def _bury(self, poison: Sequence[tuple[Record, Poison]]) -> None:
        letters = [dead_letter(record, found) for record, found in poison]
        for first in range(0, len(letters), LETTERS_MAX):
            await self._patient(DEAD_LETTERS, partial(self._outbox.send, letters[first : first + LETTERS_MAX]))
        counts = Counter(found.reason for _, found in poison)
        for reason, count in counts.items():
            self._metrics.poison.labels(reason).inc(count)
        log.warning("dead_letters", **{str(reason): count for reason, count in counts.items()})

    async def _absorb(self, arrivals: Arrivals) -> int:
        """How many were new. A damaged profile must not hold up other users: the batch is halved until its user is alone."""
        events, places, records = arrivals
        try:
            return await self._patient(STORE, lambda: self._profiles.absorb(events, self._encoder, places))
        except StoreDamaged as error:
            users = sorted({event.user_id for event in events})
            if len(users) == 1:
                await self._bury([(record, Poison(Reason.DAMAGED_PROFILE, str(error))) for record in records])
                return 0
            first = set(users[: len(users) // 2])
            return await self._absorb(arrivals.of(first)) + await self._absorb(arrivals.of(set(users) - first))
