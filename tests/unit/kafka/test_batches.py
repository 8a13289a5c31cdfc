"""Batches read quickly are what kafka-python reads, broken ones too."""

import random
from typing import Any

import pytest
from eyecatch.kafka import batches
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

NOW_MS = 1_800_000_000_000
Sent = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]

USUAL: Sent = (0, b"mia", b"v" * 135, [])
_BYTES = st.none() | st.sampled_from([0, 1, 63, 64, 200, 8191, 8192, 20_000]).map(lambda size: b"x" * size)
_SENT = st.tuples(
    st.sampled_from([0, 1, -1, 63, -64, 5000, 8191, -8192, 8192, 10**7, -(10**7)]),
    _BYTES,
    _BYTES,
    st.sampled_from([[], [("trace", b"1")], [("trace", None)]]),
)


def batch(rows: list[Sent], compression: int = 0) -> bytes:
    """The bytes of a batch as brokers send them; times are offsets from the first one's, in milliseconds."""
    builder = MemoryRecordsBuilder(2, compression, 1 << 30)
    for after, key, value, headers in [(0, *rows[0][1:]), *rows[1:]]:
        builder.append(NOW_MS + after, key, value, headers)
    builder.close()
    return bytes(builder.buffer())


def polled(data: bytes, kind: type, monkeypatch: pytest.MonkeyPatch) -> list[ConsumerRecord]:
    monkeypatch.setattr(memory_records, "DefaultRecordBatch", kind)
    return list(Fetcher.PartitionRecords(0, TopicPartition("t", 1), MemoryRecords(data)).take())


def calls(data: bytes, kind: type) -> list[Any]:
    """Every record of a batch whose checksum nobody looks at, and what was raised in the end."""
    result: list[Any] = []
    try:
        for r in kind(data):
            result.append((r.size_in_bytes, r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers))
    except Exception as error:
        result.append((type(error), str(error)))
    return result


@given(st.lists(_SENT, min_size=1, max_size=20), st.sampled_from([0, 1, 3]))
@example([USUAL] * 9000, 0)
@settings(deadline=None)
def test_what_a_poll_gives_is_the_same(rows: list[Sent], compression: int) -> None:
    data = batch(rows, compression)
    with pytest.MonkeyPatch.context() as patch:
        ours = polled(data, batches._Batch, patch)
        assert ours == polled(data, DefaultRecordBatch, patch)
    assert [(r.key, r.value, r.headers) for r in ours] == [row[1:] for row in rows]
    assert [r.offset for r in ours] == list(range(len(rows)))


def test_the_usual_ones_are_read_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    slow: list[object] = []
    monkeypatch.setattr(DefaultRecordBatch, "_read_msg", lambda self: slow.append(self))
    assert len(calls(batch([USUAL] * 5000), batches._Batch)) == 5000
    assert not slow
    calls(batch([(0, None, b"v", [])]), batches._Batch)
    assert slow


def test_a_log_that_keeps_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(batch([USUAL, (70, b"k", b"v", [])]))
    data[22] |= 0x08  # attributes: the broker's time, which is the batch's greatest
    for kind in (batches._Batch, DefaultRecordBatch):
        assert [r[2] for r in calls(bytes(data), kind)] == [NOW_MS + 70] * 2


def test_damaged_ones_break_alike() -> None:
    class Careful(batches._Batch):
        __iter__ = DefaultRecordBatch.__iter__

    rng = random.Random(1)
    ends = 0
    for _ in range(3000):
        rows = [(0, b"k" * rng.randint(0, 70), b"v" * rng.randint(0, 200), []) for _ in range(rng.randint(1, 4))]
        data = bytearray(batch(rows))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(DefaultRecordBatch.HEADER_STRUCT.size, len(data))] = rng.randrange(256)
        data = data[: len(data) - rng.choice([0, 0, 0, 1, 20])]
        result = calls(bytes(data), batches._Batch)
        assert result == calls(bytes(data), Careful)
        ends += isinstance(result[-1][0], type)
    assert ends > 100
