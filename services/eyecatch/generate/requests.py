"""Cover requests: records of a topic <-> jobs. Pure: uses no clock, no store and no broker."""

import hashlib
import math
from enum import StrEnum

from eyecatch.core import limits
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import EMBEDDING_DIM, Cover, Job
from eyecatch.kafka.producer import PROTOBUF, Outgoing
from eyecatch.kafka.records import Poison, Record, message_of
from eyecatch.messages import drawing_from_wire, drawing_to_wire, timestamp
from eyecatch.v1 import generation_pb2

# Keys of background jobs contain an item id and more.
MAX_KEY = 4 * limits.MAX_ID
MAX_TASTE = 4095


class Reason(StrEnum):
    """Why a request fails, beside the reasons of kafka.records.Unreadable. docs/generate.md says what to do about each."""

    NOT_A_REQUEST = "not-a-request"
    KEY_MISMATCH = "key-mismatch"
    BAD_FIELD = "bad-field"
    JOB_FAILED = "job-failed"


def decode(record: Record, position: str) -> Job | Poison:
    """The job of the record at `position`; a job without an id gets one from its position."""
    message = message_of(record, generation_pb2.CoverRequest, Reason.NOT_A_REQUEST)
    if isinstance(message, Poison):
        return message
    try:
        _check(message)
    except InvalidInput as error:
        return Poison(Reason.BAD_FIELD, str(error))
    if record.key != message.item_id.encode():
        got = "no key" if record.key is None else f"a key of {len(record.key)} bytes"
        return Poison(Reason.KEY_MISMATCH, f"{got}; allowed: the request's item id")
    id = message.job_id or hashlib.sha256(position.encode()).hexdigest()[:32]
    # Keys of other producers get a prefix, so that they cannot collide with keys of API callers.
    key = message.idempotency_key if message.job_id else f"topic/{message.idempotency_key or id}"
    return Job(
        id=id,
        key=key,
        item_id=message.item_id,
        user_embedding=tuple(message.taste_embedding),
        taste=message.taste if message.HasField("taste") else -1,
        count=message.count or 1,
        seed=message.seed if message.HasField("seed") else int(hashlib.sha256(id.encode()).hexdigest()[:8], 16),
        drawing=drawing_from_wire(message),
        created_at=record.timestamp / 1000,
        made_for=message.made_for,
    )


def _check(message: generation_pb2.CoverRequest) -> None:
    check = limits.Check()
    check.id("request.item_id", message.item_id)
    check.id("request.job_id", message.job_id, optional=True)
    check.text("request.idempotency_key", message.idempotency_key, MAX_KEY, optional=not message.job_id)
    check.id("request.made_for", message.made_for, optional=True)
    check.count("request.count", message.count, 0, limits.MAX_GENERATE)
    if message.HasField("taste"):
        check.count("request.taste", message.taste, 0, MAX_TASTE)
    embedding = message.taste_embedding
    if len(embedding) not in (0, EMBEDDING_DIM) or not all(map(math.isfinite, embedding)):
        check.refuse("request.taste_embedding", f"{len(embedding)} numbers", f"{EMBEDDING_DIM} finite numbers, or none")
    if message.HasField("seed"):
        check.count("request.seed", message.seed, 0, 2**63 - 1 - limits.MAX_GENERATE)
    check.drawing("request.", drawing_from_wire(message))
    check.done()


def to_record(job: Job, topic: str) -> Outgoing:
    """The record of a job, without the embedding of a single user: a topic has many readers and cannot forget a user."""
    message = generation_pb2.CoverRequest(
        item_id=job.item_id,
        idempotency_key=job.key,
        job_id=job.id,
        count=job.count,
        taste=job.taste if job.taste >= 0 else None,
        taste_embedding=() if job.made_for else job.user_embedding,
        seed=job.seed,
        made_for=job.made_for,
    )
    drawing_to_wire(job.drawing, message)
    return Outgoing(topic, job.item_id.encode(), message.SerializeToString(), (PROTOBUF,))


def covers_record(job: Job, covers: list[Cover], topic: str, now: float) -> Outgoing:
    message = generation_pb2.CoversGenerated(
        job_id=job.id,
        item_id=job.item_id,
        cover_ids=[cover.id for cover in covers],
        taste=job.taste if job.taste >= 0 else None,
        time=timestamp(now),
    )
    return Outgoing(topic, job.item_id.encode(), message.SerializeToString(), (PROTOBUF,))
