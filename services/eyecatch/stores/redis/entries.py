"""A job as Redis keeps it, and the commands that move it between the sets of a queue. Knows no port.

A job is in one of QUEUED (by its place in line), LATER (by when it may be queued), RUNNING (by when its lease ends) and OVER.
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
    """A status with its place in line, the process that works on it, and where the log has it ("": not seen there)."""

    sequence: int
    status: JobStatus
    owner: str = ""
    place: str = ""

    @property
    def subject(self) -> tuple[str, int]:
        """What only one job at a time may work on."""
        return self.status.job.item_id, self.status.job.taste

    def text(self) -> str:
        s = self.status
        row = [self.sequence, json.loads(texts.job_text(s.job)), s.job.attempts, int(s.state)]
        after = [list(s.cover_ids), s.error, self.owner, self.place, texts.failure_row(s.failure)]
        return texts.compact("job", [*row, *after])

    @classmethod
    def of(cls, data: bytes) -> "Entry":
        sequence, job, attempts, state, cover_ids, error, owner, *later = json.loads(data)
        failure = texts.failure(error, *later[1:])  # older entries end before this, or before their place in the log
        status = JobStatus(texts.job(json.dumps(job), attempts), JobState(state), tuple(cover_ids), failure)
        return cls(sequence, status, owner, *later[:1])


def placed(entry: Entry, where: str, score: float) -> list[Command]:
    """Store an entry and put its id in that one of the sets."""
    id = entry.status.job.id
    leave: list[Command] = [("ZREM", key, id) for key in SETS if key != where]
    return [("HSET", keys.JOBS, id, entry.text()), *leave, ("ZADD", where, score, id)]


def queued(entry: Entry) -> Entry:
    """In line again, nobody's."""
    return replace(entry, status=replace(entry.status, state=JobState.QUEUED), owner="")


def requeued(entry: Entry) -> list[Command]:
    return placed(queued(entry), keys.QUEUED, entry.sequence)


def failed(entry: Entry, failure: Failure) -> list[Command]:
    """Over, and its key is free."""
    after = replace(entry, status=JobStatus(entry.status.job, JobState.FAILED, (), failure), owner="")
    return [*placed(after, keys.OVER, entry.sequence), ("HDEL", keys.JOB_KEYS, entry.status.job.key)]
