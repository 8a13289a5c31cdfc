"""Records of the topic of embeddings -> the store or the dead letters; then their offsets may be committed. Knows no Kafka client.

A record that is read again is stored again, and changes nothing. Of a user's records in a batch only the last is stored.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial

import structlog

from eyecatch.core import limits
from eyecatch.core.behaviour.vectors import VectorIntake
from eyecatch.core.errors import InvalidInput, StoreDamaged
from eyecatch.core.types import UserVector
from eyecatch.ingest.metrics import VectorMetrics
from eyecatch.kafka.buffer import Buffer, Chunk
from eyecatch.kafka.dead_letters import dead_letter
from eyecatch.kafka.producer import Outbox
from eyecatch.kafka.records import Poison, Record, message_of
from eyecatch.kafka.retry import DEAD_LETTERS, STORE, Retry
from eyecatch.messages import vector_from_wire
from eyecatch.v1 import types_pb2

log = structlog.get_logger(__name__)

BATCH = 1000
LINGER_S = 0.05
# 1,024 numbers take 4 KiB in protobuf, and in JSON up to 26 characters each.
MAX_BYTES = 32 * 1024


class VectorReason(StrEnum):
    """Why a record has no vector, beside kafka.records.Unreadable. docs/vectors.md says what to do about each."""

    NOT_AN_EMBEDDING = "not-an-embedding"
    KEY_MISMATCH = "key-mismatch"
    BAD_ID = "bad-id"
    BAD_VECTOR = "bad-vector"
    DAMAGED_PROFILE = "damaged-profile"


def decode(record: Record) -> UserVector | Poison:
    """The vector of a record, whose width and numbers are not checked yet. Never raises."""
    message = message_of(record, types_pb2.UserEmbedding, VectorReason.NOT_AN_EMBEDDING, MAX_BYTES)
    if isinstance(message, Poison):
        return message
    check = limits.Check()
    check.id("user_id", message.user_id)
    if check.violations:
        return Poison(VectorReason.BAD_ID, str(check.violations[0]))
    if record.key != message.user_id.encode():
        got = "no key" if record.key is None else f"a key of {len(record.key)} bytes"
        return Poison(VectorReason.KEY_MISMATCH, f"{got}; allowed: the user id, so that a user's vectors stay in order")
    return vector_from_wire(message)


class VectorLoop:
    """Stores one batch at a time, in the order of arrival."""

    def __init__(
        self,
        buffer: Buffer,
        done: Callable[[Sequence[Chunk]], None],
        intake: VectorIntake,
        outbox: Outbox,
        retry: Retry,
        metrics: VectorMetrics,
    ) -> None:
        self._buffer, self._done, self._intake, self._outbox = buffer, done, intake, outbox
        self._retry, self._metrics = retry, metrics

    async def run(self) -> None:
        """Run until the buffer is closed and empty. Raises Unavailable if a server stays unreachable, other errors at once."""
        while chunks := await self._buffer.take(BATCH, LINGER_S):
            records = [record for chunk in chunks for record in chunk.records]
            for first in range(0, len(records), BATCH):
                await self._batch(records[first : first + BATCH])
            self._done(chunks)
            self._metrics.buffered.set(len(self._buffer))

    async def _batch(self, records: Sequence[Record]) -> None:
        decoded = [(record, decode(record)) for record in records]
        poison = [(record, bad) for record, bad in decoded if isinstance(bad, Poison)]
        arrived = [(record, vector) for record, vector in decoded if isinstance(vector, UserVector)]
        width = await self._retry(STORE, partial(self._intake.width, [vector for _, vector in arrived]))
        good: list[tuple[Record, UserVector]] = []
        for record, vector in arrived:
            check = limits.Check()
            check.vector("values", vector.values, width)
            if check.violations:
                poison.append((record, Poison(VectorReason.BAD_VECTOR, str(check.violations[0]))))
            else:
                good.append((record, vector))
        poison += await self._put(good)
        if poison:
            letters = [dead_letter(record, bad) for record, bad in poison]
            await self._retry(DEAD_LETTERS, partial(self._outbox.send, letters))
            counts = Counter(bad.reason for _, bad in poison)
            for reason, count in counts.items():
                self._metrics.poison.labels(reason).inc(count)
            log.warning("dead_letters", **{str(reason): count for reason, count in counts.items()})

    async def _put(self, good: Sequence[tuple[Record, UserVector]]) -> list[tuple[Record, Poison]]:
        """Store vectors; returns those that cannot be. The batch is halved until a user with a damaged profile is alone."""
        last = {vector.user_id: vector for _, vector in good}
        try:
            stored = await self._retry(STORE, partial(self._intake.put, list(last.values())))
        except (StoreDamaged, InvalidInput) as error:
            users = sorted(last)
            if isinstance(error, InvalidInput) or len(users) == 1:
                wide = isinstance(error, InvalidInput)  # another process stored another width first
                reason = VectorReason.BAD_VECTOR if wide else VectorReason.DAMAGED_PROFILE
                return [(record, Poison(reason, str(error))) for record, _ in good]
            half = set(users[: len(users) // 2])
            parts = [[row for row in good if (row[1].user_id in half) is side] for side in (True, False)]
            return [bad for part in parts for bad in await self._put(part)]
        self._metrics.vectors.labels("stored").inc(stored)
        self._metrics.vectors.labels("ignored").inc(len(good) - stored)
        return []
