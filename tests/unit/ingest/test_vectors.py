"""Records of the topic of embeddings: which are vectors, what becomes of the others, and both topics through a broker."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.behaviour.vectors import VectorIntake
from eyecatch.core.errors import EyecatchError, StoreDamaged, Unavailable
from eyecatch.core.types import UserVector
from eyecatch.encoders.vectors import project
from eyecatch.ingest.metrics import VectorMetrics
from eyecatch.ingest.vectors import MAX_BYTES, VectorLoop, VectorReason, decode
from eyecatch.kafka.buffer import Buffer, Chunk
from eyecatch.kafka.offsets import Log
from eyecatch.kafka.producer import Outgoing
from eyecatch.kafka.records import Poison, Unreadable
from eyecatch.kafka.retry import Retry
from eyecatch.observe.health import Health
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.v1 import types_pb2
from eyecatch.wiring.ingest import ingesting
from kafka import TopicPartition
from prometheus_client import CollectorRegistry

from tests.broker import Broker
from tests.contracts.builders import MEAN, event
from tests.unit.ingest.helpers import absorbed, record, settings
from tests.unit.ingest.test_events import Row
from tests.waiting import until


def protobuf(user: str, *values: float) -> bytes:
    return types_pb2.UserEmbedding(user_id=user, values=values).SerializeToString()


def row(user: str, *values: float, offset: int = 0) -> Row:
    return Row(protobuf(user, *values), user.encode(), offset=offset)


POISON = {
    Unreadable.EMPTY: Row(None),
    Unreadable.TOO_LARGE: Row(b"x" * (MAX_BYTES + 1)),
    Unreadable.NOT_PROTOBUF: Row(b"\xff\xff\xff"),
    Unreadable.NOT_JSON: Row(b"{"),
    VectorReason.NOT_AN_EMBEDDING: Row(b'{"userId": "mia", "values": ["x"]}'),
    VectorReason.KEY_MISMATCH: Row(protobuf("mia", 1), b"noah"),
    VectorReason.BAD_ID: Row(protobuf("", 1), b""),
}


@pytest.mark.parametrize("reason", POISON)
def test_what_is_no_vector_has_a_reason(reason: VectorReason | Unreadable) -> None:
    bad = decode(POISON[reason])
    assert isinstance(bad, Poison)
    assert bad.reason is reason
    assert "allowed" in bad.detail or reason in (Unreadable.NOT_JSON, VectorReason.NOT_AN_EMBEDDING)


def test_protobuf_and_json_are_read_up_to_the_widest() -> None:
    numbers = np.random.default_rng(0).standard_normal(1024).astype(np.float32)
    text = json.dumps({"userId": "mia", "values": [repr(float(n)) for n in numbers.astype(np.float64)]}).encode()
    for value in (protobuf("mia", *numbers.tolist()), text):
        vector = decode(Row(value))
        assert isinstance(vector, UserVector)
        assert (vector.user_id, np.array_equal(vector.values, numbers)) == ("mia", True)


@dataclass
class Recorder:
    """An outbox, and a store whose intake raises the next of `errors` instead, and StoreDamaged for `damaged` users."""

    intake: VectorIntake
    errors: list[EyecatchError] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    letters: list[Outgoing] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    async def width(self, vectors: Sequence[UserVector]) -> int:
        return await self.intake.width(vectors)

    async def put(self, vectors: Sequence[UserVector]) -> int:
        if self.errors:
            raise self.errors.pop(0)
        if self.damaged & {v.user_id for v in vectors}:
            raise StoreDamaged("a stored profile cannot be read")
        return await self.intake.put(vectors)

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.letters += records


async def run(recorder: Recorder, *rows: Row) -> VectorMetrics:
    buffer, health, metrics = Buffer(100), Health(), VectorMetrics(CollectorRegistry())
    loop = VectorLoop(
        buffer,
        lambda chunks: recorder.done.extend(c.next_offset for c in chunks),
        recorder,  # type: ignore[arg-type]
        recorder,
        Retry(health, metrics, 60.0),
        metrics,
    )
    buffer.put(Chunk(TopicPartition("t", 0), Log("id"), list(rows)))
    buffer.close()
    await loop.run()
    return metrics


def reasons(recorder: Recorder) -> dict[str, str]:
    """VectorReason by key."""
    return {(x.key or b"").decode(): dict(x.headers)["eyecatch-reason"].decode() for x in recorder.letters}  # type: ignore[union-attr]


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore.open(tmp_path)


async def vectors(store: SqliteStore) -> dict[str, list[float]]:
    pages = [rows async for rows in store.vectors.scan()]
    return {key: row for rows in pages for key, row in zip(rows.keys, rows.vectors.tolist(), strict=True)}


async def test_vectors_are_stored_and_others_become_dead_letters(store: SqliteStore) -> None:
    recorder = Recorder(VectorIntake(store.vectors, store.notes, MEAN, project))
    rows = [row("mia", 1, 2), row("noah", 1, 2, 3), row("zero", 0, 0), row("nan", 1, float("nan")), row("mia", 3, 4)]
    metrics = await run(recorder, *rows, Row(b"{", b"broken", offset=9))
    assert await vectors(store) == {"mia": [3, 4]}
    bad = str(VectorReason.BAD_VECTOR)
    assert reasons(recorder) == {"noah": bad, "zero": bad, "nan": bad, "broken": str(Unreadable.NOT_JSON)}
    assert recorder.letters[0].topic == "t.dlq"
    assert recorder.done == [10]
    assert metrics.registry.get_sample_value("eyecatch_embeddings_total", {"outcome": "stored"}) == 1
    assert metrics.registry.get_sample_value("eyecatch_embeddings_total", {"outcome": "ignored"}) == 1
    assert metrics.registry.get_sample_value("eyecatch_embeddings_poison_total", {"reason": bad}) == 3


async def test_a_store_in_trouble_is_tried_again(store: SqliteStore) -> None:
    intake = VectorIntake(store.vectors, store.notes, MEAN, project)
    recorder = Recorder(intake, errors=[Unavailable("away"), Unavailable("away")])
    await run(recorder, row("mia", 1, 2))
    assert await vectors(store) == {"mia": [1, 2]}
    assert recorder.letters == []


async def test_a_damaged_profile_does_not_block_others(store: SqliteStore) -> None:
    recorder = Recorder(VectorIntake(store.vectors, store.notes, MEAN, project), damaged={"u3"})
    await run(recorder, *[row(f"u{n}", 1, n) for n in range(6)])
    assert set(await vectors(store)) == {"u0", "u1", "u2", "u4", "u5"}
    assert reasons(recorder) == {"u3": str(VectorReason.DAMAGED_PROFILE)}


async def test_both_topics_through_a_broker(kafka: Broker, topic: str, tmp_path: Path) -> None:
    other = kafka.create()
    kafka.produce(topic, record(event("e1")))
    kafka.produce(
        other, [(b"mia", protobuf("mia", 1, 2)), (b"noah", protobuf("noah", 0, 0)), (b"liv", protobuf("liv", 5, 6))]
    )
    config = settings(kafka, topic, tmp_path, embeddings_topic=other)
    async with ingesting(config) as running:

        def stored() -> float:
            return running.metrics.registry.get_sample_value("eyecatch_embeddings_total", {"outcome": "stored"}) or 0

        await until(lambda: stored() == 2 and absorbed(running) == (1, 0), "both topics")
        await until(lambda: running.health.serving, "both readings in health")
    store = SqliteStore.open(tmp_path)
    assert await vectors(store) == {"mia": [1, 2], "liv": [5, 6]}
    store.close()
    assert sum(kafka.committed(f"{topic}-embeddings", other).values()) == 3
