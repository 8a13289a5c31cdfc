"""The user encoder and cold start on a catalogue's own behaviour, judged on users that they were not trained on. Knows no service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from icg.data.behaviour import ENGAGED
from icg.data.catalogue import Catalogue, RowReport
from icg.data.precompute import Looks, prepare
from icg.errors import IcgError
from icg.train.loop import Fit
from icg.train.users.ratings import HELD_OUT, judge, over_seeds
from icg.users.cold_start import TasteMixture

LEAST_USERS, LEAST_COVERS = 20, 10
ENGAGEMENTS = 2
"""Least engagements of a user who counts."""
USERS_A_CLUSTER = 4
MARGIN = 0.01
"""Least difference of accuracies that is told from chance."""


def run(
    out: Path, data: Path, checkpoint: Path, fits: Sequence[Fit], clusters: int, sharpness: float, trust: float
) -> dict[str, object]:
    """Train on four fifths of the users of `data`, a folder of icg.data.catalogue, once a seed, in the cover space of `checkpoint`.

    Writes out/users (encoder and mixture of the first seed, with evaluation.json) and out/left_out.jsonl. The result's `accuracy`: of pairs
    of a later engagement and a cover without one, by icg.train.users.ratings. Raises IcgError before any training for a folder without
    events, or with fewer than LEAST_COVERS covers or LEAST_USERS users of two engagements.
    """
    catalogue, report = Catalogue.open(data), RowReport()
    if catalogue.events is None:
        raise IcgError(f"data={str(data)!r}: no table of events; allowed: events.csv, .jsonl or .parquet beside items")
    looks = Looks(out / "looks", checkpoint)
    prepared = prepare(catalogue.examples(report), (looks,), report)
    if len(prepared) < LEAST_COVERS:
        raise IcgError(f"data={str(data)!r}: {report}; allowed: {LEAST_COVERS} covers or more")
    log = catalogue.log({p.example.cover: (n, p.example.item) for n, p in enumerate(prepared)}, report, "")
    users = int((np.bincount(log.user[np.isin(log.action, ENGAGED)]) >= ENGAGEMENTS).sum()) if len(log) else 0
    report.write(out / "left_out.jsonl")
    if users < LEAST_USERS:
        reason = f"{users} users with {ENGAGEMENTS} engagements or more{report.left_out}"
        raise IcgError(f"data={str(data)!r}: {reason}; allowed: {LEAST_USERS} users or more")
    print(f"{report}; {len(log)} events, {users} users with {ENGAGEMENTS} engagements or more")
    covers = looks.rows(prepared)
    results = [judge(out / f"seed{fit.seed}", log, covers, fit) for fit in fits]
    encoder, trained, _ = results[0]
    encoder.save_pretrained(out / "users")
    count = min(clusters, max(1, len(trained) // USERS_A_CLUSTER))
    TasteMixture.fit(trained, count, sharpness, trust, fits[0].seed).save_pretrained(out / "users")
    accuracy = over_seeds([accuracy for *_, accuracy in results])
    result: dict[str, object] = {
        "seeds": len(fits),
        "covers": len(covers),
        "users": users,
        "held_out": HELD_OUT,
        "accuracy": accuracy,
        "warning": warning(accuracy),
    }
    (out / "users" / "evaluation.json").write_text(json.dumps(result, indent=2))
    return result


def warning(accuracy: dict[str, dict[str, list[float]]]) -> str:
    """Says where personalisation cannot be told from chance; "" where it can."""
    table = accuracy.get("popular", {})
    if not table:
        return "NOT JUDGED: NO USER HELD OUT ENGAGED WITH TEN COVERS"
    (own, spread), (other, _) = table["encoder"], table["shuffled"]
    if own - other <= max(2 * spread, MARGIN):
        return "PERSONALISATION CANNOT BE TOLD FROM CHANCE: ANOTHER USER'S EVENTS RANK AS WELL"
    return ""


def fits(fit: Fit, steps: int, seeds: int) -> list[Fit]:
    """One a seed."""
    warmup = min(fit.warmup, max(1, steps // 4))
    return [replace(fit, steps=steps, seed=seed, warmup=warmup) for seed in range(seeds)]
