"""The product's types, all immutable. Embeddings are float32 unit vectors (EMBEDDING_DIM,); times are UNIX seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """The embedding of no user: every preference is 0, and a cover is not personalised."""
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


class Trust(IntEnum):
    """How far a cover may be shown. The numbers are those of the wire."""

    CANDIDATE = 1
    ON_TRIAL = 2
    TRUSTED = 3
    RETIRED = 4


@dataclass(frozen=True)
class Standing:
    """What was decided about showing a cover.

    reasons: the gates that a candidate failed, or why the cover is retired, in words. pinned: its item shows no other cover.
    """

    trust: Trust
    reasons: tuple[str, ...] = ()
    pinned: bool = False


ORIGINAL = Standing(Trust.TRUSTED)
"""The standing of a catalogue cover about which nothing was decided."""
UNCHECKED = Standing(Trust.CANDIDATE, ("gates: not measured when it was made; allowed: an editor's approval",))
"""The standing of a made cover from before there were gates."""


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
    """How a cover was made. The image file of a generated cover holds all of it but `made_for`.

    `made_for`: the user (user_tag of core/behaviour/tokens.py) whose embedding was used; "" for a cover for all users or a cluster.
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
    """One candidate image of an item. `rewards`: raw values by name. `taste`: the taste cluster it was made for, or -1.

    `ruling`: its standing, None until somebody or a gate decided.
    """

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
    ruling: Standing | None = None

    @property
    def standing(self) -> Standing:
        """What was decided about showing it, or the default of its origin."""
        return self.ruling or (ORIGINAL if self.provenance.origin is Origin.CATALOGUE else UNCHECKED)


class AuditEntry(NamedTuple):
    """One decision about a cover: who decided what, when, and why. `by`: an editor's name, or the part of Eyecatch that decided."""

    time: float
    by: str
    action: str
    item_id: str
    cover_id: str
    note: str = ""


@dataclass(frozen=True)
class StandingChange:
    """A change of the cover that the audit entry names, made only if its standing still is `before`."""

    before: Standing
    after: Standing
    entry: AuditEntry


class Event(NamedTuple):  # a named tuple is created three times as fast as a frozen dataclass
    """One behaviour record. `time`: by the user's clock. `dwell_ms`: of DWELL only. `cover_id` and `decision_id` may be empty."""

    id: str
    user_id: str
    item_id: str
    action: Action
    time: float
    cover_id: str = ""
    decision_id: str = ""
    dwell_ms: int = 0

    @property
    def cover_key(self) -> str:
        """The key of the embedding that encoders use for this event: that of the cover, or of the item if no cover is named.

        No id contains the unit separator, so a cover and an item with the same id have different keys.
        """
        return self.cover_id or "\x1f" + self.item_id


class Position(NamedTuple):
    """The position of an event in Kafka. A topic that was deleted and recreated must have another name here."""

    topic: str
    partition: int
    offset: int


class Activity(NamedTuple):
    """Decayed counts (6,) of a user's events, in the order of Action, at event time `at`. See core/behaviour/activity.py."""

    counts: tuple[float, ...] = (0.0,) * len(Action)
    at: float = 0.0


class BotCounters(NamedTuple):
    """Signs of a bot: the decayed count of engagements, and counts of events that weigh less. See core/behaviour/bots.py."""

    rate: float = 0.0
    too_fast: int = 0
    impossible: int = 0


@dataclass(frozen=True, eq=False)
class Profile:
    """The stored state of a user.

    events: the latest RECENT_EVENTS, newest first; a store without a log of events drops impressions first and shortens long event
    ids (core/behaviour/tokens.py). recent_ids: tokens of the events dropped last, newest first. positions: the latest absorbed
    position of each partition, newest first. encoder: the version of the encoder of `embedding` (0: no version); embeddings of
    different versions must not be compared.
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
    """N profiles of a scan: the store's keys, the encoder versions (N,), and the embeddings (N, D), zeros without a taste."""

    keys: Sequence[str]
    encoders: NDArray[np.int64]
    embeddings: Vector


@dataclass(frozen=True, eq=False)
class UserVector:
    """A user in the numbers of a model outside Eyecatch: `values` (W,), 1 to MAX_VECTOR of core/limits.py, finite and not all zeros."""

    user_id: str
    values: Vector


class Prior(NamedTuple):
    """What a map says of a user's taste: `row` (D,) of at most unit length, a difference from the mean user. `trust`: 1 to 255, how slowly
    behaviour takes over (core/behaviour/priors.py)."""

    row: Vector
    trust: int


@dataclass(frozen=True, eq=False)
class UserVectorRows:
    """N users of a scan: the store's keys, and their vectors (N, W)."""

    keys: Sequence[str]
    vectors: Vector


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What N users did, whatever their vectors say.

    embeddings: (N, D) from events alone, without priors. counts: (N,) of the events behind them. liked: embeddings (n, D) of the covers
    that each user engaged with, n up to RECENT_EVENTS. stored: (N,) whether there is a profile.
    """

    embeddings: Vector
    counts: NDArray[np.int64]
    liked: Sequence[Vector]
    stored: NDArray[np.bool_]


class Decision(NamedTuple):
    """One answered recommendation, stored for unbiased offline evaluation: columns of equal length, a row for each item with a cover.

    `propensities`: the probability, in (0, 1], that this cover was put first for its item.
    """

    id: str
    user_id: str
    time: float
    item_ids: Sequence[str]
    cover_ids: Sequence[str]
    propensities: Sequence[float] | Vector


@dataclass(frozen=True)
class Caller:
    """The fields of a call, beside item and drawing, that must be the same when the call is repeated.

    user: user_tag (core/behaviour/tokens.py), also of a user without behaviour; "" for none. seed: None if the call had none.
    """

    user: str = ""
    segment: str = ""
    seed: int | None = None


BACKGROUND = "thin/"
"""Keys of jobs for thin pools start with this."""


@dataclass(frozen=True)
class Job:
    """A request for `count` covers of an item. `key` makes it idempotent. An empty `user_embedding` means no personalisation.

    `made_for`: as in the covers' provenance. `caller`: None if no call can repeat the job, or if it was stored by a version
    without callers.
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
    def background(self) -> bool:
        """Whether nobody asked for it: a thin pool did."""
        return self.key.startswith(BACKGROUND)

    @property
    def users(self) -> set[str]:
        """Tags of the users that the job names; it is removed when one of them is forgotten."""
        return {self.made_for, self.caller.user if self.caller else ""} - {""}

    def repeats(self, first: "Job") -> bool:
        """Whether it is the same request as `first`, which has the same key.

        The user's embedding, and a segment's words and embedding, may differ by now.
        """
        drawings = [replace(job.drawing, audience="") for job in (self, first)]
        same = (self.item_id, self.count, drawings[0]) == (first.item_id, first.count, drawings[1])
        if not same or self.caller is None:
            return False
        if first.caller is not None:
            return self.caller == first.caller
        # `first` was stored without a caller: covers of one user's embedding must not go to another user.
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
    """Covers that may be drawn within one clock hour, of one item and in all; 0 = no limit. Retries of a job cost nothing."""

    per_item: int = 0
    per_hour: int = 0


UNLIMITED = Budget()


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing; an empty `next_token` means that it is the last."""

    rows: tuple[T, ...]
    next_token: str = ""
