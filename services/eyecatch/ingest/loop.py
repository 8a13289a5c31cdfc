"""The ingest loop: batches of records -> profiles or dead letters; then their offsets may be committed. Knows no Kafka client."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence, Set
from functools import partial
from typing import NamedTuple

import structlog

from eyecatch.core.behaviour.shown import ShownCovers
from eyecatch.core.errors import StoreDamaged
from eyecatch.core.ports import Clock, Encoder, ProfileStore
from eyecatch.core.types import Event, Position
from eyecatch.ingest.events import Reason, decode, decode_all
from eyecatch.ingest.marks import Marks
from eyecatch.ingest.metrics import IngestMetrics
from eyecatch.kafka.buffer import Buffer, Chunk
from eyecatch.kafka.dead_letters import dead_letter
from eyecatch.kafka.producer import Outbox
from eyecatch.kafka.records import Poison, Record
from eyecatch.kafka.retry import DEAD_LETTERS, STORE, Retry

log = structlog.get_logger(__name__)

# At most so many are sent together: if a slow broker does not take all within its timeout, all are sent again.
LETTERS_MAX = 1000
LINGER_S = 0.05

_new_tuple = tuple.__new__  # the class's own __new__ takes twice as long


class Arrivals(NamedTuple):
    """The events of a batch, in the order of arrival: columns of equal length."""

    events: list[Event]
    positions: list[Position]
    records: list[Record]

    def add(self, chunk: Chunk, topic: str, now: float) -> list[tuple[Record, Poison]]:
        """Add the events of a chunk; returns the records without an event, with the reason."""
        name, partition, records = chunk.log.name(topic), chunk.partition.partition, chunk.records
        poison: list[tuple[Record, Poison]] = []
        events = decode_all(records, now)
        if events is None:
            decoded = [(decode(record, now), record) for record in records]
            poison = [(record, bad) for bad, record in decoded if isinstance(bad, Poison)]
            good = [(event, record) for event, record in decoded if not isinstance(event, Poison)]
            events, records = [event for event, _ in good], [record for _, record in good]
        self.events.extend(events)
        self.positions.extend([_new_tuple(Position, (name, partition, record.offset)) for record in records])
        self.records.extend(records)
        return poison

    def of(self, users: Set[str]) -> "Arrivals":
        return self._rows([n for n, event in enumerate(self.events) if event.user_id in users])

    def without(self, indices: Collection[int]) -> "Arrivals":
        return self._rows([n for n in range(len(self.events)) if n not in indices])

    def _rows(self, indices: Sequence[int]) -> "Arrivals":
        return Arrivals(*([column[n] for n in indices] for column in self))  # type: ignore[arg-type]


class Loop:
    """Absorbs one batch at a time in the order of arrival, because a position means that everything before it was absorbed."""

    def __init__(
        self,
        buffer: Buffer,
        done: Callable[[Sequence[Chunk]], None],
        profiles: ProfileStore,
        encoder: Encoder,
        covers: ShownCovers,
        outbox: Outbox,
        topic: str,
        batch_max: int,
        retry: Retry,
        metrics: IngestMetrics,
        clock: Clock,
        marks: Marks | None = None,
    ) -> None:
        self._buffer, self._done = buffer, done
        self._profiles, self._encoder, self._covers, self._outbox = profiles, encoder, covers, outbox
        self._topic, self._batch_max, self._retry, self._metrics = topic, batch_max, retry, metrics
        self._clock, self._marks = clock, marks

    async def run(self) -> None:
        """Run until the buffer is closed and empty. Raises Unavailable if a server stays unreachable, other errors at once."""
        while chunks := await self._buffer.take(self._batch_max, LINGER_S):
            if self._marks is not None:
                await self._retry(STORE, partial(self._marks.check, chunks))
            await self._batch(chunks)
            if self._marks is not None:
                await self._retry(STORE, partial(self._marks.advance, chunks))
            self._done(chunks)
            self._metrics.buffered.set(len(self._buffer))

    async def _batch(self, chunks: Sequence[Chunk]) -> None:
        now = self._clock()
        arrivals = Arrivals([], [], [])
        poison: list[tuple[Record, Poison]] = []
        for chunk in chunks:
            poison += arrivals.add(chunk, self._topic, now)
        others = await self._retry(STORE, lambda: self._covers.of_other_items(arrivals.events))
        if others:
            poison += [(arrivals.records[n], Poison(Reason.OTHER_ITEM, f"event.{why}")) for n, why in others.items()]
            arrivals = arrivals.without(others)
        if poison:
            await self._send_dead_letters(poison)
        if arrivals.events:
            with self._metrics.absorb_s.time():
                new = await self._absorb(arrivals)
            self._metrics.events.labels("new").inc(new)
            self._metrics.events.labels("known").inc(len(arrivals.events) - new)
            oldest = min(chunk.records[0].timestamp for chunk in chunks) / 1000
            self._metrics.age_s.observe(max(self._clock() - oldest, 0.0))

    async def _send_dead_letters(self, poison: Sequence[tuple[Record, Poison]]) -> None:
        letters = [dead_letter(record, reason) for record, reason in poison]
        for first in range(0, len(letters), LETTERS_MAX):
            await self._retry(DEAD_LETTERS, partial(self._outbox.send, letters[first : first + LETTERS_MAX]))
        counts = Counter(bad.reason for _, bad in poison)
        for reason, count in counts.items():
            self._metrics.poison.labels(reason).inc(count)
        log.warning("dead_letters", **{str(reason): count for reason, count in counts.items()})

    async def _absorb(self, arrivals: Arrivals) -> int:
        """Absorb a batch; returns how many events were new.

        A damaged profile must not block other users, so the batch is halved until its user is alone.
        """
        events, positions, records = arrivals
        try:
            return await self._retry(STORE, lambda: self._profiles.absorb(events, self._encoder, positions))
        except StoreDamaged as error:
            users = sorted({event.user_id for event in events})
            if len(users) == 1:
                await self._send_dead_letters(
                    [(record, Poison(Reason.DAMAGED_PROFILE, str(error))) for record in records]
                )
                return 0
            first = set(users[: len(users) // 2])
            return await self._absorb(arrivals.of(first)) + await self._absorb(arrivals.of(set(users) - first))
