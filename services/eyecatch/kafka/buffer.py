"""What was read and is not absorbed yet: bounded, and shared by the thread that reads and the loop that absorbs."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kafka import TopicPartition

from eyecatch.kafka.offsets import Log
from eyecatch.kafka.records import Record

# With oversized records a count alone would bound nothing.
MAX_BYTES = 64 << 20


class Chunk(NamedTuple):
    """Records of one partition in the order of their offsets, and the log that these belong to."""

    partition: TopicPartition
    log: Log
    records: Sequence[Record]

    @property
    def next_offset(self) -> int:
        return self.records[-1].offset + 1


class Buffer:
    """`put` from the reading thread, `take` on the event loop the buffer was made on. `full` tells the reader to pause."""

    def __init__(self, max_records: int) -> None:
        self._max_records = max_records
        self._chunks: deque[tuple[Chunk, int, float]] = deque()  # with their bytes, and when they came
        self._records = self._bytes = 0
        self._full = self._closed = False
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Records in it."""
        return self._records

    @property
    def full(self) -> bool:
        """True from the limit on until half of it is free again, so that reading does not stutter."""
        if self._records >= self._max_records or self._bytes >= MAX_BYTES:
            self._full = True
        elif self._records <= self._max_records // 2 and self._bytes <= MAX_BYTES // 2:
            self._full = False
        return self._full

    def put(self, chunk: Chunk) -> None:
        size = sum(len(record.value or b"") for record in chunk.records)
        with self._lock:
            self._chunks.append((chunk, size, time.monotonic()))
            self._records += len(chunk.records)
            self._bytes += size
        self._wake()

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget what belongs to others now; they read it again."""
        gone = set(partitions)
        with self._lock:
            kept = [held for held in self._chunks if held[0].partition not in gone]
            self._chunks = deque(kept)
            self._records = sum(len(chunk.records) for chunk, _, _ in kept)
            self._bytes = sum(size for _, size, _ in kept)

    def close(self) -> None:
        """Nothing is put any more: `take` gives what is left, then nothing."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def take(self, max_records: int, linger_s: float = 0.0) -> list[Chunk]:
        """At least one chunk and as many more as hold `max_records` together; waits for one; empty when closed and empty.

        Where there is less than half of that it waits for more, until the first has waited for `linger_s`: a store does a thousand
        events in little more time than ten.
        """
        while not self._chunks and not self._closed:
            self._changed.clear()
            if not self._chunks and not self._closed:
                await self._changed.wait()
        if self._chunks and not self._closed and self._records < max_records // 2:
            await asyncio.sleep(max(self._chunks[0][2] + linger_s - time.monotonic(), 0.0))
        closed = self._closed
        taken = self._pop(max_records)
        return taken if taken or closed else await self.take(max_records, linger_s)

    def _pop(self, max_records: int) -> list[Chunk]:
        taken: list[Chunk] = []
        count = 0
        with self._lock:
            while self._chunks and (not taken or count + len(self._chunks[0][0].records) <= max_records):
                chunk, size, _ = self._chunks.popleft()
                taken.append(chunk)
                count += len(chunk.records)
                self._bytes -= size
            self._records -= count
        return taken
