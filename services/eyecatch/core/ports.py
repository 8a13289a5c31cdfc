"""The ports: interfaces that stores, generators and encoders implement. tests/contracts runs the same tests on every implementation.

Every method that waits is a coroutine. A store returns from a write only when the write survives `kill -9`.
Stores raise StoreFull when they are full and Unavailable when they do not answer. They return None instead of raising NotFound.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from eyecatch.core.cover_vectors import CoverVectors
from eyecatch.core.failures import Failure
from eyecatch.core.types import (
    AuditEntry,
    Behaviour,
    Cover,
    Decision,
    Event,
    Item,
    Job,
    JobStatus,
    Page,
    Position,
    Prior,
    Profile,
    ProfileHeads,
    StandingChange,
    Trust,
    UserVector,
    UserVectorRows,
    Vector,
)


class ProfileStore(Protocol):
    """Profiles, and the events that they were computed from."""

    async def embedding(self, user_id: str, encoder: "Encoder") -> Vector | None:
        """The user embedding (D,) of this encoder, or None for an unknown user or one without a taste (all zeros).

        The only read of a user on the fast path. If an encoder of another version wrote the stored embedding, the recent events are
        encoded again in memory. Raises Unavailable if a read or the encoding takes longer than a twentieth of a second.
        """

    async def profile(self, user_id: str) -> Profile | None:
        """The whole profile with its recent events and the stored embedding, whose version is its `encoder`."""

    async def absorb(self, events: Sequence[Event], encoder: "Encoder", positions: Sequence[Position] = ()) -> int:
        """Add each event once, encode all users with new engagements in one call of `encoder`, and return how many were new.

        Events of forgotten users and known events change nothing. An event is known by its user and id (a store remembers at least
        the last fifty ids of a user). With `positions`, one for each event, an event that is not after the last absorbed position
        of its topic and partition is a replay too.
        If `encoder` fails, nothing is stored. If the store fails, some users may be stored; repeating the call is safe.
        """

    async def forget(self, user_id: str) -> bool:
        """Remove the user and leave a tombstone, so that replays do not restore the profile; False if nothing was stored."""

    async def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        """At most `limit` events with a sequence number > `after`, as (sequence number, event) in the order of arrival."""

    async def user_count(self) -> int: ...
    def scan(self, batch: int = 1000) -> AsyncIterator[ProfileHeads]:
        """All profiles, unordered, `batch` at a time. One that is written meanwhile may be missed or come twice.

        Profiles that cannot be read are left out.
        """

    def engaged(self, item_ids: Sequence[str], batch: int = 1000) -> AsyncIterator[Sequence[str]]:
        """The keys, as of `scan`, of profiles with an engagement with one of these items, at most `batch` at a time, each at least once."""

    async def reencode(self, keys: Sequence[str], encoder: "Encoder", always: bool = False) -> int:
        """Encode those of these profiles again whose embedding has another version, in one call of `encoder`; returns how many.

        always: all of them, because covers changed that their events are about.

        Atomic for each user: a profile that changes or is forgotten meanwhile is not overwritten.
        """


class UserVectors(Protocol):
    """Users' vectors of a model outside Eyecatch, and their priors among user embeddings. ProfileStore.forget removes both."""

    async def put(self, vectors: Sequence[UserVector], priors: Sequence[Prior] | None, encoder: "Encoder") -> int:
        """Store vectors with their priors, or with none, and encode their users; returns how many. Forgotten users are left out."""

    def scan(self, batch: int = 1000) -> AsyncIterator[UserVectorRows]: ...
    async def behaviour(self, keys: Sequence[str], encoder: "Encoder", halve: bool = False) -> Behaviour:
        """With `halve` embeddings are of the older half of a user's engagements, and `liked` are new covers of the other."""

    async def set_priors(self, rows: UserVectorRows, priors: Sequence[Prior] | None, encoder: "Encoder") -> int:
        """Replace priors and encode the users; returns how many. One whose vector changed is left alone."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove vectors; the embeddings of their users stay until they are encoded again."""


class Encoder(Protocol):
    """Events -> user embeddings. Each store calls it from any thread, one call at a time."""

    @property
    def version(self) -> int:
        """1 to 65535. Embeddings of different versions are in different spaces and must never be compared.

        0 encodes nobody: a store writes zeros, which are encoded when the user is read or swept by another encoder.
        """

    def __call__(self, users: Sequence[Sequence[Event]], embeddings: Mapping[str, Vector]) -> Vector:
        """Recent events of N users, newest first, and embeddings by `Event.cover_key` -> (N, D) float32, at most unit length.

        Events without an embedding are ignored; a user without other events gets zeros.
        """


class EventSink(Protocol):
    """Takes the events of an API call: into the profiles, or into the Kafka topic that feeds them."""

    async def record(self, events: Sequence[Event]) -> int:
        """Take all events so that they survive `kill -9`; returns how many are new as far as is known.

        Raises Unavailable if not all were taken. Some may be stored then; repeating the call is safe.
        """


class CatalogStore(CoverVectors, Protocol):
    """Items and their covers."""

    async def upsert_items(self, items: Sequence[Item], covers: Sequence[Cover] = ()) -> Sequence[str]:
        """Insert or replace items and add their covers, in one transaction.

        Returns the blob URIs of the replaced references that nothing uses any more.
        """

    async def item(self, item_id: str) -> Item | None: ...

    async def known_items(self, item_ids: Sequence[str]) -> set[str]: ...

    async def items(self, page_size: int, token: str = "", category: str = "") -> Page[Item]:
        """Items in the order of their ids. Raises InvalidInput for a token that this store did not return."""

    async def delete_item(self, item_id: str) -> Sequence[str] | None:
        """Delete the item and its covers; returns the blob URIs that are unused now, or None if there is no such item."""

    async def add_covers(self, covers: Sequence[Cover]) -> None:
        """Add or replace covers by id; one without a ruling keeps that of the cover it replaces. Covers of an unknown item are dropped."""

    async def remove_covers(self, cover_ids: Sequence[str], audit: Sequence[AuditEntry] = ()) -> Sequence[str]:
        """Remove covers and write the audit entries, in one transaction; returns their blob URIs that nothing else uses."""

    async def change_standings(self, changes: Sequence[StandingChange]) -> Sequence[str]:
        """Make the changes whose covers still have the standing `before`, and write their audit entries, in one transaction.

        Returns the ids of the covers that changed.
        """

    async def waiting_covers(self, trust: Trust, page_size: int, token: str = "") -> Page[Cover]:
        """Made covers with this trust, CANDIDATE or ON_TRIAL, in the order of their ids. Raises InvalidInput for a bad token."""

    async def audit(self, page_size: int, token: str = "") -> Page[AuditEntry]:
        """Decisions about covers, newest first. Raises InvalidInput for a token that this store did not return."""

    async def cover(self, cover_id: str) -> Cover | None: ...

    async def items_of(self, cover_ids: Sequence[str]) -> Mapping[str, str]:
        """The item ids of those of these covers that are known, by cover id."""

    async def pools(self, item_ids: Sequence[str]) -> Mapping[str, Sequence[Cover]]:
        """The covers of each known item (an empty sequence for an item without covers), oldest first. Unknown items are absent."""

    async def made_for(self, user: str) -> Sequence[Cover]:
        """Covers that were made for this user (a tag, not empty) according to their provenance."""

    async def all_covers(self) -> AsyncIterator[Cover]:  # implementations are async generators
        """Every cover, for building an index."""
        yield Cover("", "", "", None)  # type: ignore[arg-type]  # pragma: no cover

    async def counts(self) -> tuple[int, int]:
        """(items, covers)."""


class DecisionLog(Protocol):
    async def append(self, lines: Sequence[str]) -> None:
        """Store decisions as lines of core/recommending/decisions.py; those of forgotten users are dropped."""

    async def decision(self, decision_id: str) -> Decision | None: ...

    def scan(self) -> AsyncIterator[Decision]:
        """All decisions, each once, unordered. One that is written meanwhile may be missed."""


@dataclass(frozen=True)
class Progress:
    """The progress of a job: its `queue_position` (0 while it runs), and `step` of `total_steps` denoising steps.

    `preview` is a small WebP of the first picture, estimated while it is noisy; or empty.
    """

    queue_position: int
    step: int = 0
    total_steps: int = 0
    preview: bytes = b""


class JobQueue(Protocol):
    """Cover requests: at most one live job for a key, and one running job for an item and taste cluster.

    A worker that takes a job holds it. After a restart, or when its lease ends, the job is queued again at its old place.
    """

    async def put(self, job: Job) -> JobStatus:
        """Queue the job, or return the status of the job that has its key. Raises Overloaded if `max_length` jobs wait."""

    async def take(self) -> Job | None:
        """The oldest queued job whose item and taste cluster no running job has, or None. It is RUNNING and counts one more attempt.

        A job that the budget has no room for becomes FAILED instead, with an error that starts with OVER_BUDGET.
        """

    async def hold(self, job_ids: Sequence[str]) -> set[str]:
        """Renew the hold on jobs; returns those that are still ours. Others were cancelled, forgotten or taken by another worker."""

    async def post(self, job_id: str, progress: Progress) -> None:
        """Publish the progress of a running job for `progress`."""

    async def progress(self, job_ids: Sequence[str]) -> Mapping[str, Progress | JobStatus]:
        """The final status of jobs that are over, and the progress of others. Unknown jobs are absent."""

    async def finish(self, job_id: str, cover_ids: Sequence[str]) -> None: ...

    async def fail(self, job_id: str, failure: Failure, retry: bool, delay_s: float = 0.0) -> None:
        """Make a running job of ours FAILED, or QUEUED again with `retry`; then it is not taken for `delay_s` seconds."""

    async def cancel(self, job_id: str, failure: Failure) -> None:
        """Make a job FAILED that is not over, whether or not a worker holds it."""

    async def status(self, job_id: str) -> JobStatus | None: ...

    async def recover(self) -> int:
        """Queue every RUNNING job again whose worker is dead; returns how many."""

    async def forget(self, user: str) -> int:
        """Remove every job of this user (a tag, not empty), also running and finished ones; returns how many."""

    async def waiting(self) -> int: ...

    async def oldest(self) -> Job | None:
        """The waiting job with the lowest place."""

    async def announce(self, item_ids: Collection[str]) -> None:
        """Announce to other processes that these pools changed without a job."""


class SharedQueue(JobQueue, Protocol):
    """A queue that several processes share. Jobs may also reach it through a log, such as a Kafka topic."""

    def with_log(self, send: Callable[[Job], Awaitable[None]]) -> "SharedQueue":
        """The same queue, but `put` sends a new job with `send` and leaves it for `accept`. If `send` raises, there is no job."""

    async def accept(self, job: Job, position: str) -> bool:
        """Queue a job that was read from the log at `position`. Returns False if that changes nothing.

        It changes nothing if the position was read before, if the job is queued, running or done, if another job has its key, or if
        the job's user is unknown. A FAILED job is queued again. Raises Overloaded if `max_length` jobs wait.
        """

    async def changed(self, after: int) -> tuple[int, Collection[str] | None]:
        """(next `after`, items whose pools changed since `after`, by a DONE job or an announcement). None: too many to list.

        -1 starts with the next change.
        """


class Notes(Protocol):
    """Small values about the whole state, by name: the last encoder rolled out, the model of the covers, the taste clusters."""

    async def read(self, name: str) -> bytes | None: ...
    async def replace(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Write `after` if the note still is `before` (None: there is no note); else return False."""


Clock = Callable[[], float]
"""UNIX seconds by the clock of the store, so that all processes that share it agree. Call it on the event loop's thread."""


class StoreLife(Protocol):
    """What a shared store says of itself."""

    async def beat(self) -> None:
        """Raises StoreLost once if the store lost writes since the last call, and Unavailable if it does not answer."""

    async def problems(self) -> list[str]:
        """What is wrong with its settings, in words."""

    async def durable(self) -> bool:
        """Whether what it acknowledges survives its restart."""


class Stores(Protocol):
    """The ports of one state: in memory, in SQLite or in Redis."""

    @property
    def catalog(self) -> CatalogStore: ...
    @property
    def profiles(self) -> ProfileStore: ...
    @property
    def vectors(self) -> UserVectors: ...
    @property
    def decisions(self) -> DecisionLog: ...
    @property
    def queue(self) -> JobQueue: ...
    @property
    def notes(self) -> Notes: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def life(self) -> StoreLife | None:
        """None of a store that this process has for itself."""


class Blobs(Protocol):
    """Image files that are never changed, addressed by content, or by that of the file which they were encoded from."""

    async def put(self, data: bytes, suffix: str, name: str = "") -> str:
        """Store and return a URI; the same bytes give the same URI.

        name: 64 hexadecimal digits in place of the digest of `data`. The first bytes of a name stay.
        """

    async def get(self, uri: str) -> bytes:
        """Raises NotFound."""

    async def delete(self, uri: str) -> None:
        """No error if it does not exist."""


class CoverIndex(Protocol):
    """Nearest covers by embedding."""

    def add(self, ids: Sequence[str], embeddings: Vector) -> None:
        """Add or replace (N, D) rows."""

    def remove(self, ids: Sequence[str]) -> None: ...

    def search(self, query: Vector, k: int) -> list[tuple[str, float]]:
        """At most k (cover id, dot product), best first."""

    def __len__(self) -> int: ...
