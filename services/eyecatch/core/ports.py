"""The ports: what the product needs from the world. Stores and generators implement them; tests/contracts prove each implementation alike.

Every method that waits is a coroutine. A store acknowledges (returns) only when the write survives `kill -9`.
Stores raise StoreFull when there is no room and Unavailable when they do not answer; NotFound never (they return None).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from eyecatch.core.drawing import DEFAULT, Drawing
from eyecatch.core.failures import Failure
from eyecatch.core.types import (
    Cover,
    Decision,
    Event,
    Item,
    Job,
    JobStatus,
    Page,
    Pixels,
    Position,
    Profile,
    ProfileHeads,
    Vector,
)


class ProfileStore(Protocol):
    """Profiles and the behaviour they were built from."""

    async def embedding(self, user_id: str, encoder: "Encoder") -> Vector | None:
        """The user embedding (D,) as this encoder makes it, or None for a user never seen or without a taste (all zeros).

        The fast path's only read of a user. What an encoder of another version stored is never given out: the recent events are
        encoded anew, in memory, which takes a tenth of a second at most (Unavailable).
        """

    async def profile(self, user_id: str) -> Profile | None:
        """The whole profile with its recent events; its embedding is the stored one, of version `encoder`."""

    async def absorb(self, events: Sequence[Event], encoder: "Encoder", positions: Sequence[Position] = ()) -> int:
        """Add events once each, re-encode all users with new engagements in one call of `encoder`, and return how many were new.

        Events of a forgotten user and events known already change nothing. An event is known by its user and id (a store
        remembers at least the last fifty ids of a user), and by its position where `positions` (one for each event, or none) give
        it: whatever does not lie behind the last one absorbed of its topic and partition is a replay.
        All or nothing when `encoder` fails; when the store fails, users may be done already, and doing it again is safe.
        """

    async def forget(self, user_id: str) -> bool:
        """Remove the user everywhere and leave a tombstone, so that replays do not revive them; False if nothing was known."""

    async def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        """Events in the order of arrival as (sequence number, event), those with a sequence number > `after`."""

    async def user_count(self) -> int: ...

    def scan(self, batch: int = 1000) -> AsyncIterator[ProfileHeads]:
        """All profiles, in no order, some at a time. One written meanwhile may be missed or come twice; unreadable ones are left out."""

    async def reencode(self, keys: Sequence[str], encoder: "Encoder") -> int:
        """Write anew, in one call of `encoder`, what encoders of another version made of these profiles; returns how many.

        Atomic for each user: a profile that changes or is forgotten meanwhile stays as others left it.
        """


class Encoder(Protocol):
    """Events -> user embeddings. Called from any thread, one call at a time from each store."""

    @property
    def version(self) -> int:
        """1 to 65535. Embeddings of different versions lie in different spaces: they never meet in one dot product."""

    def __call__(self, users: Sequence[Sequence[Event]], embeddings: Mapping[str, Vector]) -> Vector:
        """Recent events of each of N users, newest first, and embeddings by `Event.shown` -> (N, D) float32, at most unit length.

        Events whose cover has no embedding (any more) say nothing; a user without others gets zeros.
        """


class EventSink(Protocol):
    """Where events go that arrive in a call: into the profiles, or into the topic that profiles are fed from."""

    async def record(self, events: Sequence[Event]) -> int:
        """Take all events so that they survive `kill -9`; returns how many were new, as far as can be told by now.

        Raises Unavailable when not all could be taken; some may be in, and doing it again is safe.
        """


class CatalogStore(Protocol):
    """Items and their covers."""

    async def upsert_items(self, items: Sequence[Item], covers: Sequence[Cover] = ()) -> None:
        """Insert or replace items, and add covers of theirs, in one transaction."""

    async def item(self, item_id: str) -> Item | None: ...

    async def known_items(self, item_ids: Sequence[str]) -> set[str]: ...

    async def items(self, page_size: int, token: str = "", category: str = "") -> Page[Item]:
        """Items by id. Raises InvalidInput on a token that is not one of ours."""

    async def delete_item(self, item_id: str) -> Sequence[str] | None:
        """Delete the item and its covers; returns the blob URIs nobody needs any more, or None if there was no such item."""

    async def add_covers(self, covers: Sequence[Cover]) -> None:
        """Add or replace covers by id. Covers of an item that is gone are dropped."""

    async def remove_covers(self, cover_ids: Sequence[str]) -> Sequence[str]:
        """Remove covers; returns their blob URIs."""

    async def cover(self, cover_id: str) -> Cover | None: ...

    async def pools(self, item_ids: Sequence[str]) -> Mapping[str, Sequence[Cover]]:
        """The covers of each known item (an empty sequence for an item without covers), oldest first. Unknown items are absent."""

    async def made_for(self, user: str) -> Sequence[Cover]:
        """Covers whose provenance names this user (a tag, not empty) as the one they were made for."""

    async def all_covers(self) -> AsyncIterator[Cover]:  # an async generator in implementations
        """Every cover, for building an index."""
        yield Cover("", "", "", None)  # type: ignore[arg-type]  # pragma: no cover

    async def counts(self) -> tuple[int, int]:
        """(items, covers)."""


class DecisionLog(Protocol):
    async def append(self, lines: Sequence[str]) -> None:
        """Keep decisions, in the form of core.decisions.to_line; those of forgotten users are dropped."""

    async def decision(self, decision_id: str) -> Decision | None: ...


@dataclass(frozen=True)
class Progress:
    """Where a job stands: in line at `queue_position` (0 while it runs), `step` of `total_steps` denoising steps done.

    `preview` is a small WebP of the first picture, as far as it can be told while it is noise, and then as it is; or empty.
    """

    queue_position: int
    step: int = 0
    total_steps: int = 0
    preview: bytes = b""


class JobQueue(Protocol):
    """Cover requests: at most one live job for a key, one running job for an item and taste cluster.

    Whoever takes a job holds it; a restart, or a lease that ran out, puts it in line again at its old place.
    """

    async def put(self, job: Job) -> JobStatus:
        """Queue the job, or return the status of the job that already has its key. Raises Overloaded when `max_length` are waiting."""

    async def take(self) -> Job | None:
        """The oldest queued job whose item and taste cluster nobody works on, now RUNNING with its attempts counted; else None.

        A job that the budget has no room for is FAILED instead, its error beginning with OVER_BUDGET.
        """

    async def hold(self, job_ids: Sequence[str]) -> set[str]:
        """Keep jobs that were taken; those that are still ours. Others were cancelled, forgotten or given to somebody else."""

    async def post(self, job_id: str, progress: Progress) -> None:
        """Tell those who look how far a running job is."""

    async def look(self, job_ids: Sequence[str]) -> Mapping[str, Progress | JobStatus]:
        """Where jobs stand: the status of what is over, else the progress. Unknown ones are absent."""

    async def finish(self, job_id: str, cover_ids: Sequence[str]) -> None: ...

    async def fail(self, job_id: str, failure: Failure, retry: bool, delay_s: float = 0.0) -> None:
        """A running job of ours is FAILED, or QUEUED again when `retry`, and not taken before `delay_s` have passed."""

    async def cancel(self, job_id: str, failure: Failure) -> None:
        """A job that is not over is FAILED, whoever works on it."""

    async def status(self, job_id: str) -> JobStatus | None: ...

    async def recover(self) -> int:
        """Queue again every RUNNING job whose worker is dead; returns how many."""

    async def forget(self, user: str) -> int:
        """Remove every job made for this user (a tag, not empty), also running and finished ones; returns how many."""

    async def waiting(self) -> int: ...

    async def tell(self, item_ids: Collection[str]) -> None:
        """Let other processes know that the pools of these items changed without a job."""


class SharedQueue(JobQueue, Protocol):
    """A queue that several processes share, and that jobs may also reach through a log."""

    def through(self, send: Callable[[Job], Awaitable[None]]) -> "SharedQueue":
        """The same jobs, but `put` sends a new one and leaves it for `accept`; where `send` raises, there was no job."""

    async def accept(self, job: Job, place: str) -> bool:
        """A job has come through the log, where it stands at `place`: now it can be taken. False if that changes nothing.

        It changes nothing for a place read again, a job that is queued, running or done, a key that another job has, and a job for a
        user that is not known here (any more). A job that had FAILED starts anew. Raises Overloaded when `max_length` are waiting.
        """

    async def changed(self, after: int) -> tuple[int, Collection[str] | None]:
        """Items whose pools changed since, by a job that was DONE or as told: (next `after`, items), None where they are too many.

        -1 begins with those to come.
        """


class Notes(Protocol):
    """Small values about the whole state, by name: the encoder rolled out last, the model of the covers, the taste clusters."""

    async def read(self, name: str) -> bytes | None: ...

    async def replace(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Write `after` if the note is (still) `before`, None for one that is not there; else False."""


class Stores(Protocol):
    """The ports of one state, whatever it is kept in."""

    @property
    def catalog(self) -> CatalogStore: ...
    @property
    def profiles(self) -> ProfileStore: ...
    @property
    def decisions(self) -> DecisionLog: ...
    @property
    def queue(self) -> JobQueue: ...
    @property
    def notes(self) -> Notes: ...


class Blobs(Protocol):
    """Immutable image files, addressed by content."""

    async def put(self, data: bytes, suffix: str) -> str:
        """Store and return a URI; the same bytes give the same URI."""

    async def get(self, uri: str) -> bytes:
        """Raises NotFound."""

    async def delete(self, uri: str) -> None:
        """No error if it is already gone."""


class CoverIndex(Protocol):
    """Nearest covers by embedding."""

    def add(self, ids: Sequence[str], embeddings: Vector) -> None:
        """Add or replace (N, D) rows."""

    def remove(self, ids: Sequence[str]) -> None: ...

    def search(self, query: Vector, k: int) -> list[tuple[str, float]]:
        """At most k (cover id, dot product), best first."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Brief:
    """Everything a generator needs. `references` are encoded images, best first; `user_embedding` (D,) or zeros."""

    title: str
    references: tuple[bytes, ...]
    user_embedding: Vector
    seed: int
    drawing: Drawing = DEFAULT


@dataclass(frozen=True, eq=False)
class GeneratedCover:
    """One generated cover: PNG or WebP bytes carrying provenance, its embedding and its rewards.

    `available`: whether the judge of product pictures would show it, None where it has nothing to say. What it says is among the rewards
    (core.judged).
    """

    image: bytes
    suffix: str
    width: int
    height: int
    embedding: Vector
    rewards: Mapping[str, float]
    model: str
    adapter: str
    seed: int
    steps: int
    brief_digest: str
    available: bool | None = None


@dataclass(frozen=True, eq=False)
class Scored:
    embedding: Vector
    rewards: Mapping[str, float]


class Generator(Protocol):
    """Brief in, covers out, and the scorer of pictures that come from elsewhere (both live where the GPU is)."""

    async def generate(
        self,
        briefs: Sequence[Brief],
        on_step: Callable[[int, int], None],
        on_preview: Callable[[Pixels], None] | None = None,
    ) -> Sequence[GeneratedCover]:
        """Make one cover for each brief. `on_step(step, total)` is called after each denoising step, from any thread.

        So is `on_preview`, a few times at most or never, with what the first cover looks like while it is noise, a few pixels wide.
        Neither may wait.
        Cancelling the task stops the denoiser within one step. Raises Unavailable when the model does not answer.
        """

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[Scored]:
        """Embedding and stored rewards of pictures made elsewhere."""

    async def close(self) -> None: ...


class Upscaler(Protocol):
    """Makes covers larger that are kept. Lives where they are kept, wherever they were drawn."""

    async def upscale(self, made: GeneratedCover) -> GeneratedCover:
        """The same cover, larger, with what its image says of where it comes from, and that it was upscaled.

        Embedding and rewards stay those of the picture that was judged. Raises Unavailable, InvalidInput for a cover it cannot take.
        """


class Generation(Protocol):
    """The slow path as its callers see it."""

    async def request(self, job: Job) -> JobStatus:
        """Queue the job or join the one with its key. Raises Overloaded, NotFound, Unavailable."""

    def watch(self, job_id: str) -> AsyncIterator[Progress | JobStatus]:
        """Progress as it changes, then one final JobStatus (DONE or FAILED)."""

    async def cancel(self, job_id: str) -> None:
        """Stop the job if nobody else watches it; its denoiser stops within one step."""
