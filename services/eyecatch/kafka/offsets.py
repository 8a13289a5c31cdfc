"""The offset from which to read a partition, and the log that an offset belongs to. Pure; knows no broker.

Offsets order the records of one log. A topic that was recreated, or truncated after an unclean failover, has another log with the
same offsets, so every log has a name of its own: the `topic` of core.types.Position.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Log(NamedTuple):
    """One log: the id of its topic ("" if the brokers have none) and how often it was truncated."""

    id: str
    cuts: int = 0

    def name(self, topic: str) -> str:
        return f"{topic}@{self.id}/{self.cuts}"

    def note(self) -> str:
        """The metadata of a commit, which names the log of the offset for the next reader."""
        return f"{self.id}/{self.cuts}"

    @classmethod
    def parse(cls, note: str | None) -> "Log | None":
        """The log of a note; None for other texts, as other programs may commit too."""
        id, separator, cuts = (note or "").rpartition("/")
        return cls(id, int(cuts)) if separator and cuts.isascii() and cuts.isdigit() else None


@dataclass(frozen=True)
class Start:
    """Read `log` from `offset`. why: for the operator. missed: the number of records that expired before they were read."""

    log: Log
    offset: int
    why: str
    missed: int = 0


def start(
    id: str, last: tuple[int, Log | None] | None, first: int, refused: bool = False, agreed: int | None = None
) -> Start:
    """The start in a partition of the topic `id` whose first record has the offset `first`.

    last: the last committed or read position, (next offset, its log or None if unknown). refused: the broker says that this offset
    is out of range. agreed: the offset up to which the broker's log is the one that we read, if it is known.
    """
    if last is None:
        return Start(Log(id), first, "start")
    offset, log = last
    if log is not None and log.id and id and log.id != id:
        return Start(Log(id), first, "recreated")
    cuts = log.cuts if log is not None else 0
    if offset < first:
        return Start(Log(id, cuts), first, "expired", first - offset)
    if refused:
        return Start(Log(id, cuts + 1), first if agreed is None else max(first, agreed), "cut-back")
    return Start(Log(id, cuts), offset, "resumed")
