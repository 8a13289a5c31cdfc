"""A stored job, and the commands that move it between the sets of a queue. Knows no port.

A job is in one of the sorted sets QUEUED (by sequence), LATER (by the time at which it may be queued), RUNNING (by the end of its
lease) and OVER (by sequence).
"""

import json
from dataclasses import dataclass, replace

from eyecatch.core.failures import Failure
from eyecatch.core.types import JobState, JobStatus
from eyecatch.stores import json_codec as texts
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Command

SETS = (keys.QUEUED, keys.LATER, keys.RUNNING, keys.OVER)


@dataclass(frozen=True)
class Entry:
    """A status with its place in the queue, the process that runs it, and its position in the log ("": not read from the log)."""

    sequence: int
    status: JobStatus
    owner: str = ""
    position: str = ""

    @property
    def subject(self) -> tuple[str, int]:
        """Item and taste cluster: only one job for them runs at a time."""
        return self.status.job.item_id, self.status.job.taste

    def text(self) -> str:
        s = self.status
        row = [self.sequence, json.loads(texts.job_text(s.job)), s.job.attempts, int(s.state)]
        after = [list(s.cover_ids), s.error, self.owner, self.position, texts.failure_row(s.failure)]
        return texts.compact("job", [*row, *after])

    @classmethod
    def of(cls, data: bytes) -> "Entry":
        sequence, job, attempts, state, cover_ids, error, owner, *later = json.loads(data)
        failure = texts.failure(error, *later[1:])  # older entries have no failure, or no position either
        status = JobStatus(texts.job(json.dumps(job), attempts), JobState(state), tuple(cover_ids), failure)
        return cls(sequence, status, owner, *later[:1])


def move(entry: Entry, to: str, score: float) -> list[Command]:
    """Store an entry and put its id into the set `to`."""
    id = entry.status.job.id
    leave: list[Command] = [("ZREM", key, id) for key in SETS if key != to]
    return [("HSET", keys.JOBS, id, entry.text()), *leave, ("ZADD", to, score, id)]


def as_queued(entry: Entry) -> Entry:
    """The entry as QUEUED, without an owner."""
    return replace(entry, status=replace(entry.status, state=JobState.QUEUED), owner="")


def requeue(entry: Entry) -> list[Command]:
    return move(as_queued(entry), keys.QUEUED, entry.sequence)


def fail(entry: Entry, failure: Failure) -> list[Command]:
    """Make an entry FAILED and free its key."""
    after = replace(entry, status=JobStatus(entry.status.job, JobState.FAILED, (), failure), owner="")
    return [*move(after, keys.OVER, entry.sequence), ("HDEL", keys.JOB_KEYS, entry.status.job.key)]
