"""The SharedQueue port on Redis: cover requests, in one slot. Later requests with the key of a job get this job.

A worker holds a job for `lease_s` after each `hold`. When the lease of a dead worker ends, another worker takes its job.
"""

import base64
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from eyecatch.core.errors import OVER_BUDGET, Conflict, EyecatchError, Overloaded
from eyecatch.core.failures import Failure
from eyecatch.core.ports import Progress
from eyecatch.core.types import UNLIMITED, Budget, Job, JobState, JobStatus
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.entries import SETS, Entry, as_queued, fail, move, requeue
from eyecatch.stores.redis.guarded import Guarded
from eyecatch.stores.redis.link import Command, Link

KEEP_FINISHED = 10_000
# The queue waits so long for the record of a sent job; then the job is queued without it.
RECORD_S = 60.0
NEWS_S = 600
HOUR_S = 3600
PAGE = 100

_LIVE = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class QueueOptions:
    """max_length: how many jobs may wait. lease_s: how long a job is held without a renewal."""

    max_length: int = 1000
    lease_s: float = 30.0
    budget: Budget = UNLIMITED


DEFAULTS = QueueOptions()


class RedisQueue:
    """A fail job frees its key. The last KEEP_FINISHED finished jobs are kept."""

    def __init__(
        self,
        link: Link,
        options: QueueOptions,
        clock: Callable[[], float] = time.time,
        send: Callable[[Job], Awaitable[None]] | None = None,
    ) -> None:
        self._link, self._options, self._clock, self._send = link, options, clock, send
        self._guarded = Guarded(link, keys.QUEUE_GUARD)
        self._owner = secrets.token_hex(8)

    def with_log(self, send: Callable[[Job], Awaitable[None]]) -> "RedisQueue":
        return RedisQueue(self._link, self._options, self._clock, send)

    async def put(self, job: Job) -> JobStatus:
        """Raises Conflict if a job with another key has this id, and the errors of sending."""
        status, new = await self._guarded.change(lambda: self._add(job))
        if new and self._send is not None:
            try:
                await self._send(job)
            except EyecatchError:
                # If the record arrives all the same, `accept` handles it like that of an unknown job.
                await self._guarded.change(lambda: self._withdraw(job.id))
                raise
        return status

    async def _add(self, job: Job, position: str = "") -> tuple[list[Command], tuple[JobStatus, bool]]:
        holder = await self._link.one("HGET", keys.JOB_KEYS, job.key)
        if holder and (entry := await self._entry(holder.decode())):
            return [], (entry.status, False)
        taken, last = await self._link.many([("HEXISTS", keys.JOBS, job.id), ("GET", keys.JOB_SEQUENCE)])
        if taken:
            raise Conflict(f"job id {job.id} is taken")
        await self._check_room()
        entry = Entry(int(last or 0) + 1, JobStatus(job, JobState.QUEUED), position=position)
        sent = self._send is not None and not position
        to, score = (keys.LATER, self._clock() + RECORD_S) if sent else (keys.QUEUED, entry.sequence)
        return [
            ("SET", keys.JOB_SEQUENCE, entry.sequence),
            ("HSET", keys.JOB_KEYS, job.key, job.id),
            *(("SADD", keys.jobs_for(user), job.id) for user in job.users),
            *move(entry, to, score),
        ], (entry.status, True)

    async def _check_room(self) -> None:
        if await self.waiting() >= self._options.max_length:
            raise Overloaded(f"{self._options.max_length} cover requests are waiting", 5.0)

    async def _withdraw(self, job_id: str) -> tuple[list[Command], None]:
        return await self._remove(job_id.encode()), None

    async def accept(self, job: Job, position: str) -> bool:
        async def decide() -> tuple[list[Command], bool]:
            entry = await self._entry(job.id)
            if entry is None:
                if job.made_for:
                    return [], False
                commands, (_, new) = await self._add(job, position)
                return commands, new
            holder = await self._link.one("HGET", keys.JOB_KEYS, entry.status.job.key)
            state, ours = entry.status.state, holder in (None, job.id.encode())
            if entry.position == position or not ours or state not in (JobState.QUEUED, JobState.FAILED):
                return [], False
            if state is JobState.QUEUED:  # it waits for this record, or for another attempt
                return ([], False) if entry.position else (requeue(replace(entry, position=position)), True)
            await self._check_room()
            fresh = replace(entry.status.job, attempts=0)
            again = replace(entry, status=JobStatus(fresh, JobState.QUEUED), position=position)
            return [("HSET", keys.JOB_KEYS, fresh.key, fresh.id), *requeue(again)], True

        return await self._guarded.change(decide)

    async def take(self) -> Job | None:
        # Most calls find no job; these three counts save them a transaction.
        now = self._clock()
        due: list[Command] = [("ZCOUNT", key, "-inf", now) for key in (keys.LATER, keys.RUNNING)]
        if not any(await self._link.many([("ZCARD", keys.QUEUED), *due])):
            return None
        return await self._guarded.change(self._take_next)

    async def _take_next(self) -> tuple[list[Command], Job | None]:
        now = self._clock()
        due = [as_queued(entry) for key in (keys.LATER, keys.RUNNING) for entry in await self._due(key)]
        commands = [command for entry in due for command in requeue(entry)]
        running = await self._link.one("ZRANGEBYSCORE", keys.RUNNING, f"({now}", "+inf")
        busy = {entry.subject for entry in await self._entries(running)}
        first = 0
        while True:
            page = await self._entries(await self._link.one("ZRANGE", keys.QUEUED, first, first + PAGE - 1))
            # Due jobs whose place is after a full page are considered with a later page.
            full = len(page) == PAGE
            ahead = [entry for entry in due if not full or entry.sequence < page[-1].sequence]
            due = [entry for entry in due if entry not in ahead]
            for entry in sorted([*page, *ahead], key=lambda entry: entry.sequence):
                if entry.subject in busy:
                    continue
                spending, refusal = await self._spending(entry.status.job, now)
                if refusal:
                    commands += fail(entry, Failure(refusal, "overloaded"))
                    continue
                job = replace(entry.status.job, attempts=entry.status.job.attempts + 1)
                status = replace(entry.status, job=job, state=JobState.RUNNING)
                running_entry = replace(entry, status=status, owner=self._owner)
                return [*commands, *spending, *move(running_entry, keys.RUNNING, now + self._options.lease_s)], job
            if not full:
                return commands, None
            first += PAGE

    async def _spending(self, job: Job, now: float) -> tuple[list[Command], str]:
        """(commands that charge the budget for a job's first attempt, why the budget refuses it or "")."""
        budget, hour = self._options.budget, int(now // HOUR_S)
        if job.attempts or not (budget.per_item or budget.per_hour):
            return [], ""
        key = keys.spent(hour)
        # The empty id, which no item has, counts the covers of all items.
        of_all, of_item = await self._link.one("HMGET", key, "", job.item_id)
        after = {"": int(of_all or 0) + job.count, job.item_id: int(of_item or 0) + job.count}
        left_s = round((hour + 1) * HOUR_S - now)
        for name, most, what in (("", budget.per_hour, "in all"), (job.item_id, budget.per_item, "of one item")):
            if most and after[name] > most:
                return [], f"{OVER_BUDGET}: {most} covers an hour {what}; the next hour begins in {left_s} s"
        pairs = [part for pair in after.items() for part in pair]
        return [("HSET", key, *pairs), ("EXPIRE", key, 2 * HOUR_S)], ""

    async def hold(self, job_ids: Sequence[str]) -> set[str]:
        rows = await self._link.one("HMGET", keys.JOBS, *job_ids) if job_ids else []
        entries = [Entry.of(row) for row in rows if row]
        ours = [e for e in entries if e.owner == self._owner and e.status.state is JobState.RUNNING]
        ids = {entry.status.job.id for entry in ours}
        if ids:
            until = self._clock() + self._options.lease_s
            await self._link.many([("ZADD", keys.RUNNING, "XX", until, id) for id in ids])
        return ids

    async def post(self, job_id: str, progress: Progress) -> None:
        preview = base64.b64encode(progress.preview).decode()
        text = json.dumps([progress.step, progress.total_steps, preview])
        await self._link.one("SET", keys.news(job_id), text, "EX", NEWS_S)

    async def progress(self, job_ids: Sequence[str]) -> Mapping[str, Progress | JobStatus]:
        if not job_ids:
            return {}
        per_job = [
            c for id in job_ids for c in (("ZRANK", keys.QUEUED, id), ("ZRANK", keys.LATER, id), ("GET", keys.news(id)))
        ]
        rows, queued, *rest = await self._link.many([("HMGET", keys.JOBS, *job_ids), ("ZCARD", keys.QUEUED), *per_job])
        progress: dict[str, Progress | JobStatus] = {}
        for n, (id, row) in enumerate(zip(job_ids, rows, strict=True)):
            rank, later, news = rest[3 * n : 3 * n + 3]
            if row is None:
                continue
            status = Entry.of(row).status
            if status.state is JobState.QUEUED:
                progress[id] = Progress((queued + (later or 0) if rank is None else rank) + 1)
            elif status.state is JobState.RUNNING:
                step, total, preview = json.loads(news) if news else (0, 0, "")
                progress[id] = Progress(0, step, total, base64.b64decode(preview))
            else:
                progress[id] = status
        return progress

    async def finish(self, job_id: str, cover_ids: Sequence[str]) -> None:
        """A job that is over does not change, so that a late worker does not change its result."""

        async def decide() -> tuple[list[Command], None]:
            entry = await self._entry(job_id)
            if entry is None or entry.status.state not in _LIVE:
                return [], None
            status = JobStatus(entry.status.job, JobState.DONE, tuple(cover_ids))
            return [
                *move(replace(entry, status=status, owner=""), keys.OVER, entry.sequence),
                *await self._announcement([entry.status.job.item_id]),
                *await self._expired(),
            ], None

        await self._guarded.change(decide)

    async def fail(self, job_id: str, failure: Failure, retry: bool, delay_s: float = 0.0) -> None:
        async def decide() -> tuple[list[Command], None]:
            entry = await self._entry(job_id)
            if entry is None or entry.status.state is not JobState.RUNNING or entry.owner != self._owner:
                return [], None
            if not retry:
                return [*fail(entry, failure), *await self._expired()], None
            after = as_queued(replace(entry, status=replace(entry.status, failure=failure)))
            if delay_s:
                return move(after, keys.LATER, self._clock() + delay_s), None
            return requeue(after), None

        await self._guarded.change(decide)

    async def cancel(self, job_id: str, failure: Failure) -> None:
        async def decide() -> tuple[list[Command], None]:
            entry = await self._entry(job_id)
            return (fail(entry, failure) if entry and entry.status.state in _LIVE else []), None

        await self._guarded.change(decide)

    async def status(self, job_id: str) -> JobStatus | None:
        entry = await self._entry(job_id)
        return entry.status if entry else None

    async def recover(self) -> int:
        """Queue the jobs of this process and those with an expired lease again; jobs of living workers stay."""

        async def decide() -> tuple[list[Command], int]:
            running = await self._entries(await self._link.one("ZRANGE", keys.RUNNING, 0, -1))
            again = {
                e.sequence: e for e in [*(e for e in running if e.owner == self._owner), *await self._due(keys.RUNNING)]
            }
            return [c for entry in again.values() for c in requeue(entry)], len(again)

        return await self._guarded.change(decide)

    async def waiting(self) -> int:
        queued, later = await self._link.many([("ZCARD", keys.QUEUED), ("ZCARD", keys.LATER)])
        return int(queued) + int(later)

    async def oldest(self) -> Job | None:
        first = await self._link.many([("ZRANGE", key, 0, 0) for key in (keys.QUEUED, keys.LATER)])
        entries = await self._entries([id for ids in first for id in ids])
        return min(entries, key=lambda entry: entry.sequence).status.job if entries else None

    async def changed(self, after: int) -> tuple[int, Collection[str] | None]:
        last = int(await self._link.one("GET", keys.CHANGES) or 0)
        if after < 0 or last <= after:
            return last, ()
        rows = await self._link.one("ZRANGEBYSCORE", keys.CHANGED, after + 1, last)
        return last, {row.decode().split("/", 1)[1] for row in rows} if len(rows) == last - after else None

    async def announce(self, item_ids: Collection[str]) -> None:
        async def decide() -> tuple[list[Command], None]:
            return (await self._announcement(item_ids) if item_ids else []), None

        await self._guarded.change(decide)

    async def _announcement(self, item_ids: Collection[str]) -> list[Command]:
        """Commands that announce items whose pools change to other processes; the last KEEP_FINISHED are kept."""
        last = int(await self._link.one("GET", keys.CHANGES) or 0)
        numbered = list(enumerate(item_ids, last + 1))
        added = [("ZADD", keys.CHANGED, number, f"{number}/{item_id}") for number, item_id in numbered]
        last += len(numbered)
        trim: Command = ("ZREMRANGEBYSCORE", keys.CHANGED, "-inf", last - KEEP_FINISHED)
        return [*added, ("SET", keys.CHANGES, last), trim]

    async def _due(self, key: str) -> list[Entry]:
        return await self._entries(await self._link.one("ZRANGEBYSCORE", key, "-inf", self._clock()))

    async def _entry(self, job_id: str) -> Entry | None:
        data = await self._link.one("HGET", keys.JOBS, job_id)
        return Entry.of(data) if data else None

    async def _entries(self, ids: Sequence[bytes]) -> list[Entry]:
        rows = await self._link.one("HMGET", keys.JOBS, *ids) if ids else []
        return [Entry.of(row) for row in rows if row]

    async def _expired(self) -> list[Command]:
        """Commands that remove finished jobs more than KEEP_FINISHED places behind the newest job."""
        last = int(await self._link.one("GET", keys.JOB_SEQUENCE) or 0)
        ids = await self._link.one("ZRANGEBYSCORE", keys.OVER, "-inf", last - KEEP_FINISHED)
        commands: list[Command] = []
        for id in ids:
            commands += await self._remove(id)
        return commands

    async def _remove(self, id: bytes) -> list[Command]:
        """Commands that remove all of a job."""
        commands: list[Command] = [("ZREM", key, id) for key in SETS]
        commands += [("HDEL", keys.JOBS, id), ("DEL", keys.news(id.decode()))]
        if entry := await self._entry(id.decode()):
            job = entry.status.job
            if await self._link.one("HGET", keys.JOB_KEYS, job.key) == id:
                commands.append(("HDEL", keys.JOB_KEYS, job.key))
            commands += [("SREM", keys.jobs_for(user), id) for user in job.users]
        return commands

    async def forget(self, user: str) -> int:
        async def decide() -> tuple[list[Command], int]:
            ids = await self._link.one("SMEMBERS", keys.jobs_for(user))
            return [command for id in ids for command in await self._remove(id)], len(ids)

        return await self._guarded.change(decide)
