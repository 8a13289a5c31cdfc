"""Where to read a partition from, and what its offsets are worth. Pure; knows no broker.

Offsets order the events of one log. A topic made anew, or cut back after an unclean failover, starts another log with offsets of the
same numbers, so every log has a name of its own: the `topic` of core.types.Position.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Log(NamedTuple):
    """One log: the id of its topic ("" where brokers tell none) and how often it was cut back."""

    id: str
    cuts: int = 0

    def name(self, topic: str) -> str:
        return f"{topic}@{self.id}/{self.cuts}"

    def note(self) -> str:
        """What a commit carries, so that the next reader knows of which log it speaks."""
        return f"{self.id}/{self.cuts}"

    @classmethod
    def parse(cls, note: str | None) -> "Log | None":
        """None for what `note` never made, as other programs may commit too."""
        id, separator, cuts = (note or "").rpartition("/")
        return cls(id, int(cuts)) if separator and cuts.isascii() and cuts.isdigit() else None


@dataclass(frozen=True)
class Place:
    """Read `log` from `offset`. `why` is for the operator; `missed` records went before anybody read them."""

    log: Log
    offset: int
    why: str
    missed: int = 0


def place(
    id: str, held: tuple[int, Log | None] | None, first: int, refused: bool = False, agreed: int | None = None
) -> Place:
    """Where to go on in a topic whose id is `id` and a partition of which the broker has nothing before `first`.

    `held` is what was committed (or read) last: (next offset, its log or None where nothing is known of it). `refused`: the broker
    says that this offset lies outside; `agreed` is then up to where its log is the one that we read, if it can tell.
    """
    if held is None:
        return Place(Log(id), first, "start")
    offset, log = held
    if log is not None and log.id and id and log.id != id:
        return Place(Log(id), first, "recreated")
    cuts = log.cuts if log is not None else 0
    if offset < first:
        return Place(Log(id, cuts), first, "expired", first - offset)
    if refused:
        return Place(Log(id, cuts + 1), first if agreed is None else max(first, agreed), "cut-back")
    return Place(Log(id, cuts), offset, "resumed")
