"""The words of the product as values that never change. Embeddings are float32 unit vectors of EMBEDDING_DIM; times are UNIX seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from eyecatch.core.drawing import DEFAULT, Drawing
from eyecatch.core.failures import NONE, Failure

EMBEDDING_DIM = 64
RECENT_EVENTS = 32

Vector = NDArray[np.float32]
Pixels = NDArray[np.uint8]
"""(h, w, 3), red, green, blue."""
T = TypeVar("T")


def zeros() -> Vector:
    """The embedding of nobody: with it every preference is 0 and a cover is unpersonalised."""
    return np.zeros(EMBEDDING_DIM, np.float32)


class Action(IntEnum):
    """What a user did with a cover. The numbers are those of the wire."""

    IMPRESSION = 1
    CLICK = 2
    LIKE = 3
    DISLIKE = 4
    PURCHASE = 5
    DWELL = 6


class Origin(IntEnum):
    """Where a cover came from. The numbers are those of the wire."""

    CATALOGUE = 1
    GENERATED = 2


@dataclass(frozen=True)
class Item:
    """What is recommended. `references` are blob URIs of its pictures, best first."""

    id: str
    title: str
    category: str = ""
    references: tuple[str, ...] = ()
    updated_at: float = 0.0


@dataclass(frozen=True)
class Provenance:
    """How a cover came to be; for a generated one it also stands inside the image file, but for `made_for`.

    `made_for`: whose own embedding it was made of, as core/tokens.py's user_tag; empty for a cover of everybody's or of a cluster.
    """

    origin: Origin = Origin.CATALOGUE
    model: str = ""
    adapter: str = ""
    seed: int = 0
    steps: int = 0
    strength: float = 0.0
    brief_digest: str = ""
    job_id: str = ""
    made_for: str = ""


@dataclass(frozen=True, eq=False)
class Cover:
    """One candidate image of an item. `rewards` are raw values by name; `taste` is the taste cluster it was made for, or -1."""

    id: str
    item_id: str
    uri: str
    embedding: Vector
    rewards: Mapping[str, float] = field(default_factory=dict)
    provenance: Provenance = Provenance()
    width: int = 0
    height: int = 0
    taste: int = -1
    created_at: float = 0.0


class Event(NamedTuple):  # as are all that come by the hundred thousand: made three times as fast as a frozen dataclass
    """One behaviour record. `time` is the user's own clock; `dwell_ms` belongs to DWELL; ids of cover and decision may be empty."""

    id: str
    user_id: str
    item_id: str
    action: Action
    time: float
    cover_id: str = ""
    decision_id: str = ""
    dwell_ms: int = 0

    @property
    def shown(self) -> str:
        """Under which key encoders find the embedding of what was shown: the cover, or the item of an event without one.

        No id holds a unit separator, so a cover and an item of the same id stay apart.
        """
        return self.cover_id or "\x1f" + self.item_id


class Position(NamedTuple):
    """Where an event stood in Kafka. `topic` also tells incarnations of a topic apart: one made anew needs another name here."""

    topic: str
    partition: int
    offset: int


class Activity(NamedTuple):
    """How much a user does: decayed counts (6,), in the order of Action, as of the user's own time `at`. See core/activity.py."""

    counts: tuple[float, ...] = (0.0,) * len(Action)
    at: float = 0.0


class BotCounters(NamedTuple):
    """What speaks against a user being human: a decayed count of engagements, and events weighed down. See core/bots.py."""

    rate: float = 0.0
    too_fast: int = 0
    impossible: int = 0


@dataclass(frozen=True, eq=False)
class Profile:
    """What is stored of a user.

    `events` are the latest RECENT_EVENTS, newest first; a store that keeps no log of events lets impressions go first and keeps
    long event ids as core/tokens.py shortens them. `recent_ids` are the tokens of events that have left it, newest first.
    `positions` are the latest ones absorbed, one a partition, newest first. `encoder` is the version of the encoder that made
    the embedding (0: not versioned); what another one made must not be compared with it.
    """

    user_id: str
    embedding: Vector
    event_count: int = 0
    updated_at: float = 0.0
    positions: tuple[Position, ...] = ()
    events: tuple[Event, ...] = ()
    recent_ids: tuple[str, ...] = ()
    activity: Activity = field(default_factory=Activity)
    bots: BotCounters = field(default_factory=BotCounters)
    encoder: int = 0


@dataclass(frozen=True, eq=False)
class ProfileHeads:
    """What walking over all users gives, N at a time: keys that name profiles to their store, versions of the encoders that made the
    embeddings (N,), and the embeddings (N, D), zeros for users without a taste."""

    keys: Sequence[str]
    encoders: NDArray[np.int64]
    embeddings: Vector


class Decision(NamedTuple):
    """One answered recommendation, kept so that offline evaluation is unbiased: columns of equal length, one row an item with a cover.

    `propensities` are the probabilities, in (0, 1], with which each cover was put first for its item.
    """

    id: str
    user_id: str
    time: float
    item_ids: Sequence[str]
    cover_ids: Sequence[str]
    propensities: Sequence[float] | Vector


@dataclass(frozen=True)
class Caller:
    """What a caller named, beside the item and the drawing, that a repeated call must name again.

    user: user_tag (core/behaviour/tokens.py), also of a user without behaviour; "" for none. seed: None if it was left open.
    """

    user: str = ""
    segment: str = ""
    seed: int | None = None


@dataclass(frozen=True)
class Job:
    """A request to make `count` covers of an item for a taste. `key` makes it idempotent; `user_embedding` all zeros = unpersonalised.

    `made_for` is that of the covers' provenance. `caller` is None for a job that no call can repeat, and for one that was stored
    before callers were.
    """

    id: str
    key: str
    item_id: str
    user_embedding: tuple[float, ...] = ()
    taste: int = -1
    count: int = 1
    seed: int = 0
    drawing: Drawing = DEFAULT
    created_at: float = 0.0
    attempts: int = 0
    made_for: str = ""
    caller: Caller | None = None

    @property
    def users(self) -> set[str]:
        """Tags of the users whom it names: it goes when one of them is forgotten."""
        return {self.made_for, self.caller.user if self.caller else ""} - {""}

    def repeats(self, first: "Job") -> bool:
        """Whether it asks for what `first`, which has the same key, asked for. A user's embedding may have moved meanwhile."""
        if (self.item_id, self.count, self.drawing) != (
            first.item_id,
            first.count,
            first.drawing,
        ) or self.caller is None:
            return False
        if first.caller is not None:
            return self.caller == first.caller
        # Stored before callers were: nobody gets what was made for another user's own embedding.
        return first.made_for in ("", self.caller.user) and self.caller.seed in (None, first.seed)


class JobState(IntEnum):
    QUEUED = 1
    RUNNING = 2
    DONE = 3
    FAILED = 4


@dataclass(frozen=True)
class JobStatus:
    job: Job
    state: JobState
    cover_ids: tuple[str, ...] = ()
    failure: Failure = NONE

    @property
    def error(self) -> str:
        """Why the last attempt failed, in words; "" if none did."""
        return self.failure.text


@dataclass(frozen=True)
class Budget:
    """Covers that may be made within one hour of the clock, of one item and in all; 0 = no limit. A job made anew costs nothing more."""

    per_item: int = 0
    per_hour: int = 0


UNLIMITED = Budget()


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing; an empty `next_token` means it was the last."""

    rows: tuple[T, ...]
    next_token: str = ""
