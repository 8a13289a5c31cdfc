"""The JobQueue port on SQLite: cover requests. Later requests with the key of a job get this job."""

# ruff: noqa: S608 (only constants of this package are formatted into statements)

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from eyecatch.core.errors import OVER_BUDGET, Conflict, Overloaded
from eyecatch.core.failures import NONE, Failure
from eyecatch.core.ports import Progress
from eyecatch.core.types import UNLIMITED, Budget, Job, JobState, JobStatus
from eyecatch.stores import json_codec as texts
from eyecatch.stores.sqlite.connection import Database, Row

_COLUMNS = "seq, job, attempts, state, cover_ids, error, failure"
_LIVE = f"state IN ({int(JobState.QUEUED)}, {int(JobState.RUNNING)})"
_RUNNING = f"state = {int(JobState.RUNNING)}"
KEEP_FINISHED = 10_000
HOUR_S = 3600


class SqliteQueue:
    """A failed job frees its key. At most `max_length` jobs wait; the last KEEP_FINISHED finished jobs are kept."""

    def __init__(
        self, database: Database, max_length: int, budget: Budget = UNLIMITED, clock: Callable[[], float] = time.time
    ) -> None:
        self._database, self._max_length, self._budget, self._clock = database, max_length, budget, clock
        # In memory, as only this process runs jobs. After a restart they are tried again at once.
        self._not_before: dict[str, float] = {}
        self._news: dict[str, Progress] = {}

    async def put(self, job: Job) -> JobStatus:
        """Raises Conflict if a job with another key has this id."""

        def run(connection: sqlite3.Connection) -> JobStatus:
            sql = f"SELECT {_COLUMNS} FROM jobs WHERE key = ? AND state != ? ORDER BY seq DESC LIMIT 1"
            row = connection.execute(sql, (job.key, int(JobState.FAILED))).fetchone()
            if row is not None:
                return _status(row)
            if connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job.id,)).fetchone():
                raise Conflict(f"job id {job.id} is taken")
            if _waiting(connection) >= self._max_length:
                raise Overloaded(f"{self._max_length} cover requests are waiting", 5.0)
            connection.execute(
                "INSERT INTO jobs (id, key, state, job, attempts, cover_ids, error) VALUES (?, ?, ?, ?, ?, '[]', '')",
                (job.id, job.key, int(JobState.QUEUED), texts.job_text(job), job.attempts),
            )
            return JobStatus(job, JobState.QUEUED)

        return await self._database.write(run)

    async def take(self) -> Job | None:
        # Most calls find no job; this count saves them a transaction.
        if not await self.waiting():
            return None

        now = self._clock()

        def run(connection: sqlite3.Connection) -> Job | None:
            sql = f"SELECT {_COLUMNS} FROM jobs WHERE state = ? ORDER BY seq"
            running = [_status(row).job for row in connection.execute(sql, (int(JobState.RUNNING),))]
            busy = {(job.item_id, job.taste) for job in running}
            next_job, refused = None, []
            for row in connection.execute(sql, (int(JobState.QUEUED),)):
                job = _status(row).job
                if (job.item_id, job.taste) in busy or self._not_before.get(job.id, 0.0) > time.monotonic():
                    continue
                refusal = self._charge(connection, job, now)
                if not refusal:
                    next_job = row[0], replace(job, attempts=job.attempts + 1)
                    break
                refused.append((int(JobState.FAILED), *_stored(Failure(refusal, "overloaded")), row[0]))
            connection.executemany("UPDATE jobs SET state = ?, error = ?, failure = ? WHERE seq = ?", refused)
            if next_job is None:
                return None
            update = "UPDATE jobs SET state = ?, attempts = attempts + 1 WHERE seq = ?"
            connection.execute(update, (int(JobState.RUNNING), next_job[0]))
            return next_job[1]

        job = await self._database.write(run)
        if job is not None:
            self._forget_news([job.id])
        return job

    def _charge(self, connection: sqlite3.Connection, job: Job, now: float) -> str:
        """Charge the budget for a job's first attempt. Returns why the budget refuses it, or ""."""
        budget, hour = self._budget, int(now // HOUR_S)
        if job.attempts or not (budget.per_item or budget.per_hour):
            return ""
        connection.execute("DELETE FROM spent WHERE hour < ?", (hour,))
        sql = "SELECT item_id, covers FROM spent WHERE hour = ? AND item_id IN ('', ?)"
        spent = dict(connection.execute(sql, (hour, job.item_id)).fetchall())
        left_s = round((hour + 1) * HOUR_S - now)
        for name, most, what in (("", budget.per_hour, "in all"), (job.item_id, budget.per_item, "of one item")):
            if most and spent.get(name, 0) + job.count > most:
                return f"{OVER_BUDGET}: {most} covers an hour {what}; the next hour begins in {left_s} s"
        add = "INSERT INTO spent VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET covers = covers + excluded.covers"
        connection.executemany(add, [(hour, name, job.count) for name in ("", job.item_id)])
        return ""

    async def hold(self, job_ids: Sequence[str]) -> set[str]:
        statuses = {id: await self.status(id) for id in job_ids}
        return {id for id, status in statuses.items() if status and status.state is JobState.RUNNING}

    async def post(self, job_id: str, progress: Progress) -> None:
        self._news[job_id] = progress

    async def progress(self, job_ids: Sequence[str]) -> Mapping[str, Progress | JobStatus]:
        progress: dict[str, Progress | JobStatus] = {}
        before = "SELECT count(*) FROM jobs WHERE state = ? AND seq <= (SELECT seq FROM jobs WHERE id = ?)"
        for id in job_ids:
            status = await self.status(id)
            if status is None:
                continue
            if status.state is JobState.QUEUED:
                progress[id] = Progress(int(self._database.read(before, (int(JobState.QUEUED), id))[0][0]))
            elif status.state is JobState.RUNNING:
                progress[id] = self._news.get(id, Progress(0))
            else:
                progress[id] = status
        return progress

    def _forget_news(self, job_ids: Sequence[str]) -> None:
        for id in job_ids:
            self._news.pop(id, None)
            self._not_before.pop(id, None)

    async def finish(self, job_id: str, cover_ids: Sequence[str]) -> None:
        await self._set(job_id, _LIVE, JobState.DONE, cover_ids, NONE)

    async def fail(self, job_id: str, failure: Failure, retry: bool, delay_s: float = 0.0) -> None:
        state = JobState.QUEUED if retry else JobState.FAILED
        if await self._set(job_id, _RUNNING, state, (), failure) and retry:
            self._not_before[job_id] = time.monotonic() + delay_s

    async def cancel(self, job_id: str, failure: Failure) -> None:
        await self._set(job_id, _LIVE, JobState.FAILED, (), failure)

    async def _set(self, job_id: str, where: str, state: JobState, cover_ids: Sequence[str], failure: Failure) -> bool:
        """A job that is over does not change, so that a late worker does not change its result."""

        def run(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(
                f"UPDATE jobs SET state = ?, cover_ids = ?, error = ?, failure = ? WHERE id = ? AND {where}",
                (int(state), json.dumps(list(cover_ids)), *_stored(failure), job_id),
            ).rowcount
            connection.execute(
                f"DELETE FROM jobs WHERE NOT {_LIVE} AND seq <= (SELECT max(seq) FROM jobs) - ?", (KEEP_FINISHED,)
            )
            return changed > 0

        changed = await self._database.write(run)
        self._forget_news([job_id])
        return changed

    async def status(self, job_id: str) -> JobStatus | None:
        row = self._database.read(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,))
        return _status(row[0]) if row else None

    async def recover(self) -> int:
        def run(connection: sqlite3.Connection) -> int:
            sql = "UPDATE jobs SET state = ? WHERE state = ?"
            return connection.execute(sql, (int(JobState.QUEUED), int(JobState.RUNNING))).rowcount

        return await self._database.write(run)

    async def forget(self, user: str) -> int:
        def run(connection: sqlite3.Connection) -> int:
            named = "json_extract(job, '$.made_for'), json_extract(job, '$.caller.user')"
            return connection.execute(f"DELETE FROM jobs WHERE ? IN ({named})", (user,)).rowcount

        return await self._database.write(run)

    async def announce(self, item_ids: Collection[str]) -> None:
        """There are no other processes."""

    async def waiting(self) -> int:
        return int(self._database.read("SELECT count(*) FROM jobs WHERE state = ?", (int(JobState.QUEUED),))[0][0])

    async def oldest(self) -> Job | None:
        sql = f"SELECT {_COLUMNS} FROM jobs WHERE state = ? ORDER BY seq LIMIT 1"
        rows = self._database.read(sql, (int(JobState.QUEUED),))
        return _status(rows[0]).job if rows else None


def _waiting(connection: sqlite3.Connection) -> int:
    sql = "SELECT count(*) FROM jobs WHERE state = ?"
    return int(connection.execute(sql, (int(JobState.QUEUED),)).fetchone()[0])


def _status(row: Row) -> JobStatus:
    _, text, attempts, state, cover_ids, error, kind = row
    failure = texts.failure(error, json.loads(kind)) if kind else texts.failure(error)
    return JobStatus(texts.job(text, attempts), JobState(state), tuple(json.loads(cover_ids)), failure)


def _stored(failure: Failure) -> tuple[str, str]:
    """The columns `error` and `failure`."""
    return failure.text, texts.compact("failure", texts.failure_row(failure)) if failure.kind else ""
