"""A bounded buffer of records between the thread that reads and the loop that absorbs."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kafka import TopicPartition

from eyecatch.kafka.offsets import Log
from eyecatch.kafka.records import Record

# A limit of the number of records alone would not bound the memory of large records.
MAX_BYTES = 64 << 20


class Chunk(NamedTuple):
    """Records of one partition in the order of their offsets, and the log of these offsets."""

    partition: TopicPartition
    log: Log
    records: Sequence[Record]

    @property
    def next_offset(self) -> int:
        return self.records[-1].offset + 1


class Buffer:
    """Call `put` on the reading thread and `take` on the event loop that was running at construction. `full`: reading has to pause."""

    def __init__(self, max_records: int) -> None:
        self._max_records = max_records
        self._chunks: deque[tuple[Chunk, int, float]] = deque()  # with their bytes and arrival times
        self._records = self._bytes = 0
        self._full = self._closed = False
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """The number of records."""
        return self._records

    @property
    def full(self) -> bool:
        """True from the limit until half of it is free again, so that reading does not pause too often."""
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
        """Remove the chunks of partitions that other members have now; they read them again."""
        revoked = set(partitions)
        with self._lock:
            self._chunks = deque(entry for entry in self._chunks if entry[0].partition not in revoked)
            self._records = sum(len(chunk.records) for chunk, _, _ in self._chunks)
            self._bytes = sum(size for _, size, _ in self._chunks)

    def close(self) -> None:
        """After the last `put`: `take` returns the rest, then nothing."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def take(self, max_records: int, linger_s: float = 0.0) -> list[Chunk]:
        """Wait for a chunk; return it and further chunks up to `max_records`. Empty if the buffer is closed and empty.

        With less than half of `max_records` it waits for more, until the first chunk has waited for `linger_s`: a store takes little
        more time for a thousand events than for ten.
        """
        while not self._chunks and not self._closed:
            self._changed.clear()
            if not self._chunks and not self._closed:
                await self._changed.wait()
        if self._chunks and not self._closed and self._records < max_records // 2:
            await asyncio.sleep(max(self._chunks[0][2] + linger_s - time.monotonic(), 0.0))
        closed = self._closed
        chunks = self._pop(max_records)
        return chunks if chunks or closed else await self.take(max_records, linger_s)

    def _pop(self, max_records: int) -> list[Chunk]:
        chunks: list[Chunk] = []
        count = 0
        with self._lock:
            while self._chunks and (not chunks or count + len(self._chunks[0][0].records) <= max_records):
                chunk, size, _ = self._chunks.popleft()
                chunks.append(chunk)
                count += len(chunk.records)
                self._bytes -= size
            self._records -= count
        return chunks
