"""High-water marks: how far each partition is absorbed, written beside the profiles and before the commit of its offset.

A store that comes back empty or older than the committed offsets shows it: its marks are behind them. Knows no Kafka client.
"""

import asyncio
from collections.abc import Callable, Sequence

from kafka import TopicPartition

from eyecatch.core.errors import StoreLost
from eyecatch.core.ports import Notes, ProfileStore
from eyecatch.kafka.buffer import Chunk
from eyecatch.kafka.offsets import Log

PREFIX = "absorbed/"


def name(log: Log, partition: TopicPartition) -> str:
    """The name of the note that holds the next offset of a partition of this log."""
    return f"{PREFIX}{log.name(partition.topic)}/{partition.partition}"


class Marks:
    """`resumed`: the committed offset from which a partition is read, None if nothing was committed."""

    def __init__(self, notes: Notes, profiles: ProfileStore, resumed: Callable[[TopicPartition], int | None]) -> None:
        self._notes, self._profiles, self._resumed = notes, profiles, resumed
        self._known: dict[str, int | None] = {}

    async def check(self, chunks: Sequence[Chunk]) -> None:
        """Raises StoreLost if the store lacks events whose offsets were committed, or marks that we wrote.

        Call it before the records are absorbed: the positions of later events would hide the missing ones from a rewind.
        """
        places = {name(chunk.log, chunk.partition): chunk.partition for chunk in chunks}
        await asyncio.gather(*(self._check(mark, partition) for mark, partition in places.items()))

    async def _check(self, mark: str, partition: TopicPartition) -> None:
        stored = await self._read(mark)
        expected = self._known[mark] if mark in self._known else self._resumed(partition)
        # A store of the version before has profiles and no marks.
        if expected and (stored or 0) < expected and (stored is not None or not await self._any_profile()):
            raise StoreLost(_lost(partition, stored, expected))
        self._known[mark] = stored

    async def advance(self, chunks: Sequence[Chunk]) -> None:
        """Call it when the records are absorbed. Raises StoreLost if the marks that we wrote are gone."""
        ends = {name(chunk.log, chunk.partition): chunk for chunk in chunks}
        await asyncio.gather(*(self._advance(mark, chunk) for mark, chunk in ends.items()))

    async def _advance(self, mark: str, chunk: Chunk) -> None:
        before, after = self._known.get(mark), chunk.next_offset
        while not await self._notes.replace(mark, _bytes(before), b"%d" % after):
            stored = await self._read(mark)
            if (stored or 0) < (before or 0):
                raise StoreLost(_lost(chunk.partition, stored, before or 0))
            # Another member had the partition meanwhile, or has it now.
            before, after = stored, max(after, stored or 0)
        self._known[mark] = after

    async def _read(self, mark: str) -> int | None:
        note = await self._notes.read(mark)
        return None if note is None else int(note)

    async def _any_profile(self) -> bool:
        async for _ in self._profiles.scan(1):
            return True
        return False


def _bytes(mark: int | None) -> bytes | None:
    return None if mark is None else b"%d" % mark


def _lost(partition: TopicPartition, stored: int | None, expected: int) -> str:
    state = "is empty" if stored is None else f"ends at offset {stored}"
    return (
        f"the store lost events: {partition.topic}/{partition.partition} was absorbed up to {expected}, the store {state}; "
        "`eyecatch ingest rewind --to-store` reads the missing ones again"
    )
