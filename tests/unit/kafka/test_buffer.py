"""The bounded buffer."""

import asyncio
from types import SimpleNamespace

import pytest
from eyecatch.kafka.buffer import MAX_BYTES, Buffer, Chunk
from eyecatch.kafka.offsets import Log
from kafka import TopicPartition

from tests.unit.ingest.test_events import Row

LOG = Log("id")


def chunk(partition: int, *offsets: int, value: bytes = b"v") -> Chunk:
    return Chunk(TopicPartition("t", partition), LOG, [Row(value, partition=partition, offset=o) for o in offsets])


async def test_chunks_come_out_in_order_and_together_up_to_a_batch() -> None:
    buffer = Buffer(100)
    chunks = [chunk(0, 0, 1), chunk(1, 0), chunk(0, 2, 3), chunk(0, 4, 5, 6, 7, 8, 9)]
    for each in chunks:
        buffer.put(each)
    assert len(buffer) == 11
    assert await buffer.take(4) == chunks[:2]
    assert await buffer.take(4) == chunks[2:3]
    assert await buffer.take(4) == chunks[3:], "one chunk is always taken, whatever its size"
    assert len(buffer) == 0
    assert chunks[2].next_offset == 4


async def test_take_waits_and_ends() -> None:
    buffer = Buffer(100)
    waiting = asyncio.ensure_future(buffer.take(10))
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.to_thread(buffer.put, chunk(0, 1))
    assert await waiting == [chunk(0, 1)]
    waiting = asyncio.ensure_future(buffer.take(10))
    await asyncio.sleep(0)
    await asyncio.to_thread(buffer.close)
    assert await waiting == []


async def test_what_was_put_before_the_end_is_still_taken() -> None:
    buffer = Buffer(100)
    buffer.put(chunk(0, 1))
    buffer.close()
    assert await buffer.take(10) == [chunk(0, 1)]
    assert await buffer.take(10) == []


async def test_a_small_batch_waits_for_company_and_a_large_one_does_not() -> None:
    buffer = Buffer(100)
    buffer.put(chunk(0, 0))
    waiting = asyncio.ensure_future(buffer.take(10, linger_s=0.05))
    await asyncio.sleep(0)
    buffer.put(chunk(0, 1))
    assert await waiting == [chunk(0, 0), chunk(0, 1)]
    buffer.put(chunk(0, *range(5)))
    async with asyncio.timeout(5):
        assert await buffer.take(10, linger_s=60) == [chunk(0, *range(5))]
    buffer.put(chunk(0, 9))
    buffer.close()
    async with asyncio.timeout(5):
        assert await buffer.take(10, linger_s=60) == [chunk(0, 9)], "nothing more will come"


async def test_who_has_waited_while_others_were_absorbed_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer, now = Buffer(100), [1000.0]
    monkeypatch.setattr("eyecatch.kafka.buffer.time", SimpleNamespace(monotonic=lambda: now[0]))
    buffer.put(chunk(0, 0))
    now[0] += 60  # a batch before it was at work
    taken = asyncio.ensure_future(buffer.take(10, linger_s=60))
    for _ in range(3):
        await asyncio.sleep(0)
    assert taken.done()
    assert taken.result() == [chunk(0, 0)]


async def test_full_until_half_is_free() -> None:
    buffer = Buffer(4)
    for offset in range(4):
        assert not buffer.full
        buffer.put(chunk(0, offset))
    assert buffer.full
    await buffer.take(1)
    assert buffer.full, "three of four"
    await buffer.take(1)
    assert not buffer.full


async def test_large_records_fill_it_too() -> None:
    buffer = Buffer(1000)
    value = b"x" * (MAX_BYTES // 4)
    for offset in range(4):
        assert not buffer.full
        buffer.put(chunk(0, offset, value=value))
    assert buffer.full
    await buffer.take(2)
    assert not buffer.full


async def test_dropping_a_partition_leaves_the_others() -> None:
    buffer = Buffer(4)
    for each in (chunk(0, 0, 1), chunk(1, 0), chunk(0, 2)):
        buffer.put(each)
    assert buffer.full
    waiting = [TopicPartition("t", 0), TopicPartition("t", 7)]
    buffer.drop(waiting)
    assert not buffer.full
    assert len(buffer) == 1
    assert await buffer.take(10) == [chunk(1, 0)]
