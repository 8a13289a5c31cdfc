"""Cover requests in Redis: the JobQueue port, in one slot. The job that has a key answers every later request with it.

A worker holds a job for LEASE_S; a job of a worker that died is taken again afterwards, by whoever asks first.
"""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from eyecatch.core.errors import Conflict, Overloaded
from eyecatch.core.types import Job, JobState, JobStatus
from eyecatch.stores import texts
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.guarded import Guarded
from eyecatch.stores.redis.link import Command, Link

KEEP_FINISHED = 10_000
# Longer than any one job takes; should one take longer it is made twice, which costs time but changes nothing.
LEASE_S = 300.0

_LIVE = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class _Entry:
    """A job as stored, with its place in line and the process that works on it."""

    sequence: int
    status: JobStatus
    owner: str = ""

    def text(self) -> str:
        s = self.status
        row = [self.sequence, json.loads(texts.job_text(s.job)), s.job.attempts, int(s.state)]
        return texts.compact("job", [*row, list(s.cover_ids), s.error, self.owner])

    @classmethod
    def of(cls, data: bytes) -> "_Entry":
        sequence, job, attempts, state, cover_ids, error, owner = json.loads(data)
        job = texts.job(json.dumps(job), attempts)
        return cls(sequence, JobStatus(job, JobState(state), tuple(cover_ids), error), owner)


class RedisQueue:
    """A failed job frees its key. At most `max_length` wait; KEEP_FINISHED finished ones are remembered."""

    def __init__(self, link: Link, max_length: int, clock: Callable[[], float] = time.time) -> None:
        self._link, self._max_length, self._clock = link, max_length, clock
        self._guarded = Guarded(link, keys.QUEUE_GUARD)
        self._me = secrets.token_hex(8)

    async def put(self, job: Job) -> JobStatus:
        """Raises Conflict when the id already stands for a job with another key."""

        async def decide() -> tuple[list[Command], JobStatus]:
            holder = await self._link.one("HGET", keys.JOB_KEYS, job.key)
            if holder and (entry := await self._entry(holder.decode())):
                return [], entry.status
            taken, waiting, last = await self._link.many(
                [("HEXISTS", keys.JOBS, job.id), ("ZCARD", keys.QUEUED), ("GET", keys.JOB_SEQUENCE)]
            )
            if taken:
                raise Conflict(f"job id {job.id} is taken")
            if waiting >= self._max_length:
                raise Overloaded(f"{self._max_length} cover requests are waiting", 5.0)
            entry = _Entry(int(last or 0) + 1, JobStatus(job, JobState.QUEUED))
            return [
                ("SET", keys.JOB_SEQUENCE, entry.sequence),
                ("HSET", keys.JOB_KEYS, job.key, job.id),
                *([("SADD", keys.jobs_for(job.made_for), job.id)] if job.made_for else []),
                *_placed(entry, keys.QUEUED, entry.sequence),
            ], entry.status

        return await self._guarded.change(decide)

    async def take(self) -> Job | None:
        # Looking is cheap and most looks find nothing; only a find costs a transaction.
        if not any(await self._waiting()):
            return None

        async def decide() -> tuple[list[Command], Job | None]:
            commands = [c for entry in await self._abandoned() for c in _requeued(entry)]
            if commands:
                return commands, None
            found = await self._link.one("ZRANGE", keys.QUEUED, 0, 0)
            entry = await self._entry(found[0].decode()) if found else None
            if entry is None:
                return [], None
            job = replace(entry.status.job, attempts=entry.status.job.attempts + 1)
            running = replace(entry, status=replace(entry.status, job=job, state=JobState.RUNNING), owner=self._me)
            return _placed(running, keys.RUNNING, self._clock() + LEASE_S), job

        job = await self._guarded.change(decide)
        # The first change may only have put abandoned jobs back in line.
        return job or await self._guarded.change(decide)

    async def finish(self, job_id: str, cover_ids: Sequence[str]) -> None:
        await self._set(job_id, JobState.DONE, cover_ids, "")

    async def fail(self, job_id: str, error: str, retry: bool) -> None:
        await self._set(job_id, JobState.QUEUED if retry else JobState.FAILED, (), error)

    async def _set(self, job_id: str, state: JobState, cover_ids: Sequence[str], error: str) -> None:
        """A job that is already over stays as it is: a late worker does not change the answer."""

        async def decide() -> tuple[list[Command], None]:
            entry = await self._entry(job_id)
            if entry is None or entry.status.state not in _LIVE:
                return [], None
            after = replace(entry, status=JobStatus(entry.status.job, state, tuple(cover_ids), error), owner="")
            if state is JobState.QUEUED:
                return _placed(after, keys.QUEUED, entry.sequence), None
            commands = _placed(after, keys.OVER, entry.sequence)
            if state is JobState.FAILED:
                commands.append(("HDEL", keys.JOB_KEYS, entry.status.job.key))
            return commands + await self._old(), None

        await self._guarded.change(decide)

    async def status(self, job_id: str) -> JobStatus | None:
        entry = await self._entry(job_id)
        return entry.status if entry else None

    async def recover(self) -> int:
        """Queue again what this process holds and what others held for too long: the jobs of living workers stay theirs."""

        async def decide() -> tuple[list[Command], int]:
            ids = [id.decode() for id in await self._link.one("ZRANGE", keys.RUNNING, 0, -1)]
            held = [entry for id in ids if (entry := await self._entry(id)) and entry.owner == self._me]
            again = {entry.sequence: entry for entry in [*held, *await self._abandoned()]}
            return [c for entry in again.values() for c in _requeued(entry)], len(again)

        return await self._guarded.change(decide)

    async def waiting(self) -> int:
        return (await self._waiting())[0]

    async def _waiting(self) -> tuple[int, int]:
        """(jobs queued, jobs whose worker is overdue)."""
        asked: list[Command] = [("ZCARD", keys.QUEUED), ("ZCOUNT", keys.RUNNING, "-inf", self._clock())]
        queued, overdue = await self._link.many(asked)
        return int(queued), int(overdue)

    async def _abandoned(self) -> list[_Entry]:
        ids = await self._link.one("ZRANGEBYSCORE", keys.RUNNING, "-inf", self._clock())
        return [entry for id in ids if (entry := await self._entry(id.decode()))]

    async def _entry(self, job_id: str) -> _Entry | None:
        data = await self._link.one("HGET", keys.JOBS, job_id)
        return _Entry.of(data) if data else None

    async def _old(self) -> list[Command]:
        """The commands that forget finished jobs KEEP_FINISHED places behind the newest."""
        last = int(await self._link.one("GET", keys.JOB_SEQUENCE) or 0)
        ids = await self._link.one("ZRANGEBYSCORE", keys.OVER, "-inf", last - KEEP_FINISHED)
        commands: list[Command] = []
        for id in ids:
            commands += await self._removed(id)
        return commands

    async def _removed(self, id: bytes) -> list[Command]:
        """The commands that leave nothing of a job."""
        commands: list[Command] = [("ZREM", key, id) for key in (keys.QUEUED, keys.RUNNING, keys.OVER)]
        commands.append(("HDEL", keys.JOBS, id))
        if entry := await self._entry(id.decode()):
            job = entry.status.job
            if await self._link.one("HGET", keys.JOB_KEYS, job.key) == id:
                commands.append(("HDEL", keys.JOB_KEYS, job.key))
            if job.made_for:
                commands.append(("SREM", keys.jobs_for(job.made_for), id))
        return commands

    async def forget(self, user: str) -> int:
        async def decide() -> tuple[list[Command], int]:
            ids = await self._link.one("SMEMBERS", keys.jobs_for(user))
            return [command for id in ids for command in await self._removed(id)], len(ids)

        return await self._guarded.change(decide)


def _placed(entry: _Entry, where: str, score: float) -> list[Command]:
    """The commands that store an entry and put its id in that one of the three sets."""
    id = entry.status.job.id
    leave: list[Command] = [("ZREM", key, id) for key in (keys.QUEUED, keys.RUNNING, keys.OVER) if key != where]
    return [("HSET", keys.JOBS, id, entry.text()), *leave, ("ZADD", where, score, id)]


def _requeued(entry: _Entry) -> list[Command]:
    queued = replace(entry, status=replace(entry.status, state=JobState.QUEUED), owner="")
    return _placed(queued, keys.QUEUED, entry.sequence)
