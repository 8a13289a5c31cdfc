"""What stores keep as compact JSON: rewards, provenance, jobs. Knows no database."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Job, Provenance


def compact(field: str, value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InvalidInput.of(field, value, "finite numbers") from error


def rewards_text(rewards: Mapping[str, float]) -> str:
    return compact("rewards", {name: float(value) for name, value in rewards.items()})


def provenance_text(provenance: Provenance) -> str:
    """Everything but the origin, by which stores look covers up."""
    return compact(
        "provenance", {name: value for name, value in asdict(provenance).items() if value and name != "origin"}
    )


def job_text(job: Job) -> str:
    """Everything but the attempts, which the queue counts in a column."""
    fields = asdict(job)
    del fields["attempts"]
    return compact("job", fields)


def job(text: str, attempts: int) -> Job:
    fields: dict[str, Any] = json.loads(text)
    return Job(**{**fields, "user_embedding": tuple(fields["user_embedding"])}, attempts=attempts)
