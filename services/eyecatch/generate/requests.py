"""Cover requests as records of a topic <-> jobs. Pure: reads no clock, no store and no broker."""

import hashlib
import math
from enum import StrEnum

from eyecatch.core import limits
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import EMBEDDING_DIM, Cover, Job
from eyecatch.ingest.events import Poison, Record, parsed
from eyecatch.kafka.producer import PROTOBUF, Outgoing
from eyecatch.messages import timestamp
from eyecatch.v1 import generation_pb2

# Ours hold an item's id and what it is asked for.
MAX_KEY = 4 * limits.MAX_ID
MAX_TASTE = 4095


class Reason(StrEnum):
    """Why a request is not done, beside the reasons of a record that is no message at all. docs/generate.md says what to do about each."""

    NOT_A_REQUEST = "not-a-request"
    KEY_MISMATCH = "key-mismatch"
    BAD_FIELD = "bad-field"
    JOB_FAILED = "job-failed"


def decode(record: Record, place: str) -> Job | Poison:
    """The job of a record that stands at `place`, which also names it if nothing else does."""
    message = parsed(record, generation_pb2.CoverRequest, Reason.NOT_A_REQUEST)
    if isinstance(message, Poison):
        return message
    try:
        _check(message)
    except InvalidInput as error:
        return Poison(Reason.BAD_FIELD, str(error))
    if record.key != message.item_id.encode():
        got = "no key" if record.key is None else f"a key of {len(record.key)} bytes"
        return Poison(Reason.KEY_MISMATCH, f"{got}; allowed: the request's item id")
    id = message.job_id or hashlib.sha256(place.encode()).hexdigest()[:32]
    # Keys of others have a room of their own: they can neither take nor guess those of our callers.
    key = message.idempotency_key if message.job_id else f"topic/{message.idempotency_key or id}"
    return Job(
        id=id,
        key=key,
        item_id=message.item_id,
        user_embedding=tuple(message.taste_embedding),
        taste=message.taste if message.HasField("taste") else -1,
        count=message.count or 1,
        seed=message.seed if message.HasField("seed") else int(hashlib.sha256(id.encode()).hexdigest()[:8], 16),
        steps=message.steps,
        strength=message.strength if message.HasField("strength") else 1.0,
        reference_strength=message.reference_strength if message.HasField("reference_strength") else None,
        created_at=record.timestamp / 1000,
        made_for=message.made_for,
        inpaint=message.inpaint,
        product_id=message.product_id,
        target_kpi=message.target_kpi,
    )


def _check(message: generation_pb2.CoverRequest) -> None:
    check = limits.Check()
    check.id("request.item_id", message.item_id)
    check.id("request.job_id", message.job_id, optional=True)
    check.text("request.idempotency_key", message.idempotency_key, MAX_KEY, optional=not message.job_id)
    check.id("request.made_for", message.made_for, optional=True)
    check.product("request.product_id", message.product_id)
    check.target("request.target_kpi", message.target_kpi)
    check.count("request.count", message.count, 0, limits.MAX_GENERATE)
    if message.HasField("taste"):
        check.count("request.taste", message.taste, 0, MAX_TASTE)
    embedding = message.taste_embedding
    if len(embedding) not in (0, EMBEDDING_DIM) or not all(map(math.isfinite, embedding)):
        check.refuse("request.taste_embedding", f"{len(embedding)} numbers", f"{EMBEDDING_DIM} finite numbers, or none")
    if message.HasField("seed"):
        check.count("request.seed", message.seed, 0, 2**63 - 1 - limits.MAX_GENERATE)
    if message.HasField("steps"):
        check.count("request.steps", message.steps, 1, limits.MAX_STEPS)
    if message.HasField("strength"):
        check.fraction("request.strength", message.strength)
    if message.HasField("reference_strength"):
        check.fraction("request.reference_strength", message.reference_strength)
        if message.inpaint:
            check.refuse("request.reference_strength", message.reference_strength, "none with inpaint")
    check.done()


def to_record(job: Job, topic: str) -> Outgoing:
    """A topic is read by many and forgets nobody: what one user likes stays in the store."""
    message = generation_pb2.CoverRequest(
        item_id=job.item_id,
        idempotency_key=job.key,
        job_id=job.id,
        count=job.count,
        taste=job.taste if job.taste >= 0 else None,
        taste_embedding=() if job.made_for else job.user_embedding,
        seed=job.seed,
        steps=job.steps or None,
        strength=job.strength,
        reference_strength=job.reference_strength,
        made_for=job.made_for,
        inpaint=job.inpaint,
        product_id=job.product_id,
        target_kpi=job.target_kpi,
    )
    return Outgoing(topic, job.item_id.encode(), message.SerializeToString(), (PROTOBUF,))


def made_record(job: Job, covers: list[Cover], topic: str, now: float) -> Outgoing:
    message = generation_pb2.CoversGenerated(
        job_id=job.id,
        item_id=job.item_id,
        cover_ids=[cover.id for cover in covers],
        taste=job.taste if job.taste >= 0 else None,
        time=timestamp(now),
    )
    return Outgoing(topic, job.item_id.encode(), message.SerializeToString(), (PROTOBUF,))
