"""Types <-> rows: embeddings as little-endian float16, lists and maps as compact JSON. Knows no query."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import EMBEDDING_DIM, Action, Cover, Event, Job, Origin, Provenance, Vector
from eyecatch.stores.sqlite.connection import Row

EVENT_COLUMNS = "event_id, user_id, item_id, action, time, cover_id, decision_id, dwell_ms"
COVER_COLUMNS = "id, item_id, uri, embedding, rewards, origin, provenance, width, height, taste, created_at"
_COVER_WIDTH = COVER_COLUMNS.count(",") + 1
_ACTIONS = {int(action): action for action in Action}


def pack(embedding: Vector) -> bytes:
    """(D,) -> 2*D bytes. Raises InvalidInput for another shape or a number that is not finite."""
    vector = np.asarray(embedding, np.float32)
    if vector.shape != (EMBEDDING_DIM,) or not np.isfinite(vector).all() or np.abs(vector).max() > 1e4:
        raise InvalidInput.of("embedding", vector.shape, f"{EMBEDDING_DIM} finite numbers of a unit vector")
    return vector.astype("<f2").tobytes()


def unpack(blob: bytes) -> Vector:
    """2*D bytes -> (D,) float32, read-only because caches share it."""
    vector: Vector = np.frombuffer(blob, "<f2").astype(np.float32)
    vector.flags.writeable = False
    return vector


def _compact(field: str, value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InvalidInput.of(field, value, "finite numbers") from error


def _rewards(rewards: Mapping[str, float]) -> str:
    return _compact("rewards", {name: float(value) for name, value in rewards.items()})


def event_row(event: Event) -> Row:
    return (
        event.id, event.user_id, event.item_id, int(event.action), float(event.time),
        event.cover_id, event.decision_id, event.dwell_ms,
    )  # fmt: skip


def event(row: Row) -> Event:
    return Event(row[0], row[1], row[2], _ACTIONS[row[3]], row[4], row[5], row[6], row[7])


def cover_row(cover: Cover) -> Row:
    made = {name: value for name, value in asdict(cover.provenance).items() if value and name != "origin"}
    return (
        cover.id, cover.item_id, cover.uri, pack(cover.embedding), _rewards(cover.rewards),
        int(cover.provenance.origin), _compact("provenance", made),
        cover.width, cover.height, cover.taste, cover.created_at,
    )  # fmt: skip


def cover(row: Row) -> Cover:
    """The last columns of `row` are COVER_COLUMNS."""
    id, item_id, uri, embedding, rewards, origin, made, width, height, taste, created_at = row[-_COVER_WIDTH:]
    provenance = Provenance(Origin(origin), **json.loads(made))
    return Cover(id, item_id, uri, unpack(embedding), json.loads(rewards), provenance, width, height, taste, created_at)


def job_text(job: Job) -> str:
    """Everything but the attempts, which the queue counts in a column."""
    fields = asdict(job)
    del fields["attempts"]
    return _compact("job", fields)


def job(text: str, attempts: int) -> Job:
    fields: dict[str, Any] = json.loads(text)
    return Job(**{**fields, "user_embedding": tuple(fields["user_embedding"])}, attempts=attempts)
