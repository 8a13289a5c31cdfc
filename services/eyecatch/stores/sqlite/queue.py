"""Cover requests in SQLite: the JobQueue port. The job that has a key answers every later request with it."""

# ruff: noqa: S608 (only constants of this package are formatted into statements)

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from eyecatch.core.errors import Conflict, Overloaded
from eyecatch.core.types import Job, JobState, JobStatus
from eyecatch.stores import texts
from eyecatch.stores.sqlite.connection import Database, Row

_COLUMNS = "seq, job, attempts, state, cover_ids, error"
_LIVE = f"state IN ({int(JobState.QUEUED)}, {int(JobState.RUNNING)})"
KEEP_FINISHED = 10_000


class SqliteQueue:
    """A failed job frees its key. At most `max_length` wait; KEEP_FINISHED finished ones are remembered."""

    def __init__(self, database: Database, max_length: int) -> None:
        self._database = database
        self._max_length = max_length

    async def put(self, job: Job) -> JobStatus:
        """Raises Conflict when the id already stands for a job with another key."""

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
        # Looking is cheap and most looks find nothing; only a find costs a transaction.
        if not await self.waiting():
            return None

        def run(connection: sqlite3.Connection) -> Job | None:
            sql = f"SELECT {_COLUMNS} FROM jobs WHERE state = ? ORDER BY seq LIMIT 1"
            row = connection.execute(sql, (int(JobState.QUEUED),)).fetchone()
            if row is None:
                return None
            update = "UPDATE jobs SET state = ?, attempts = attempts + 1 WHERE seq = ?"
            connection.execute(update, (int(JobState.RUNNING), row[0]))
            job = _status(row).job
            return replace(job, attempts=job.attempts + 1)

        return await self._database.write(run)

    async def finish(self, job_id: str, cover_ids: Sequence[str]) -> None:
        await self._set(job_id, JobState.DONE, cover_ids, "")

    async def fail(self, job_id: str, error: str, retry: bool) -> None:
        await self._set(job_id, JobState.QUEUED if retry else JobState.FAILED, (), error)

    async def _set(self, job_id: str, state: JobState, cover_ids: Sequence[str], error: str) -> None:
        """A job that is already over stays as it is: a late worker does not change the answer."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(
                f"UPDATE jobs SET state = ?, cover_ids = ?, error = ? WHERE id = ? AND {_LIVE}",
                (int(state), json.dumps(list(cover_ids)), error, job_id),
            )
            connection.execute(
                f"DELETE FROM jobs WHERE NOT {_LIVE} AND seq <= (SELECT max(seq) FROM jobs) - ?", (KEEP_FINISHED,)
            )

        await self._database.write(run)

    async def status(self, job_id: str) -> JobStatus | None:
        found = self._database.read(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,))
        return _status(found[0]) if found else None

    async def recover(self) -> int:
        def run(connection: sqlite3.Connection) -> int:
            sql = "UPDATE jobs SET state = ? WHERE state = ?"
            return connection.execute(sql, (int(JobState.QUEUED), int(JobState.RUNNING))).rowcount

        return await self._database.write(run)

    async def forget(self, user: str) -> int:
        def run(connection: sqlite3.Connection) -> int:
            return connection.execute("DELETE FROM jobs WHERE json_extract(job, '$.made_for') = ?", (user,)).rowcount

        return await self._database.write(run)

    async def waiting(self) -> int:
        return int(self._database.read("SELECT count(*) FROM jobs WHERE state = ?", (int(JobState.QUEUED),))[0][0])


def _waiting(connection: sqlite3.Connection) -> int:
    sql = "SELECT count(*) FROM jobs WHERE state = ?"
    return int(connection.execute(sql, (int(JobState.QUEUED),)).fetchone()[0])


def _status(row: Row) -> JobStatus:
    _, text, attempts, state, cover_ids, error = row
    return JobStatus(texts.job(text, attempts), JobState(state), tuple(json.loads(cover_ids)), error)
