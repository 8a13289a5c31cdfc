"""Compact JSON of rewards, provenance, failures and jobs for stores. Knows no database."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput
from eyecatch.core.failures import Failure
from eyecatch.core.types import AuditEntry, Caller, Job, Provenance, Standing, Trust

JOB_FIELDS = [field.name for field in fields(Job) if field.name not in ("attempts", "drawing", "caller")]


def compact(field: str, value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InvalidInput.of(field, value, "finite numbers") from error


def rewards_text(rewards: Mapping[str, float]) -> str:
    return compact("rewards", {name: float(value) for name, value in rewards.items()})


def provenance_text(provenance: Provenance) -> str:
    """Everything but the origin, which stores keep in a field of its own."""
    return compact(
        "provenance", {name: value for name, value in asdict(provenance).items() if value and name != "origin"}
    )


def standing_row(standing: Standing) -> list[Any]:
    return [int(standing.trust), list(standing.reasons), standing.pinned]


def standing(row: Sequence[Any]) -> Standing | None:
    """`row`: from `standing_row`, or empty if nothing was decided."""
    if not row:
        return None
    trust, reasons, pinned = row
    return Standing(Trust(trust), tuple(reasons), pinned)


def audit_text(entry: AuditEntry) -> str:
    return compact("audit", list(entry))


def audit_entry(text: str | bytes) -> AuditEntry:
    return AuditEntry(*json.loads(text))


def failure_row(failure: Failure) -> list[Any]:
    """Everything but the text, which stores keep as the error of the job."""
    return [failure.kind, failure.details]


def failure(text: str, row: Sequence[Any] = ("", ())) -> Failure:
    """`row`: from `failure_row`; without one the failure has no kind."""
    kind, details = row
    return Failure(text, kind, tuple((field, value, allowed) for field, value, allowed in details))


def job_text(job: Job) -> str:
    """Everything but the attempts, which the queue counts in a field of its own. Knobs of the drawing are fields beside the others."""
    values = {name: getattr(job, name) for name in JOB_FIELDS}
    values |= {"caller": asdict(job.caller)} if job.caller else {}
    return compact("job", values | job.drawing.set_knobs())


def job(text: str, attempts: int) -> Job:
    values: dict[str, Any] = json.loads(text)
    if values.get("steps") == 0:  # older versions stored None as 0
        del values["steps"]
    known = {name: values[name] for name in JOB_FIELDS if name in values}
    known["user_embedding"] = tuple(values["user_embedding"])
    caller = Caller(**values["caller"]) if "caller" in values else None
    return Job(**known, drawing=Drawing.of(values), attempts=attempts, caller=caller)
