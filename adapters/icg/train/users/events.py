"""The sequence encoder on any table of events, judged by how well it ranks all items for what its users did last. Knows no service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from icg.data.event_table import read
from icg.data.interactions import Interactions, Split, leave_last
from icg.errors import IcgError
from icg.evaluate.peers import popularity
from icg.evaluate.ranking import Scorer, figures, interval, ranks_of
from icg.evaluate.stopping import Rounds, best
from icg.train.users.rankers import SequenceRankers
from icg.train.users.sequence import scorer
from icg.users.sequence import Content

HIDDEN, LEAST = 5, 10
JUDGED = ("recall@20", "ndcg@20", "mrr")


def run(out: Path, events: Path, items: Path | None, steps: int, seeds: int) -> dict[str, object]:
    """Train on all but the last HIDDEN engagements of users with LEAST, once a seed, for as many rounds as are best where those before
    them are hidden (at most `steps`); writes out/sequence (the first seed's encoder, with evaluation.json). Returns figures of it, of
    another user's history and of popularity: mean over users and seeds, deviation over seeds.

    Raises IcgError before any training if fewer than two users have LEAST engagements.
    """
    table = read(events, items)
    split = leave_last(table.interactions, HIDDEN, LEAST)
    if len(split.users) < 2:
        raise IcgError(f"events={str(events)!r}: {len(split.users)} users with {LEAST} engagements; allowed: 2 or more")
    content = Content.of(table.texts, np.zeros((len(table.items), 0), np.float32))
    rankers = SequenceRankers(out / "fits", content, steps)
    options = converged(rankers, split.known)

    def judged(score: Scorer) -> dict[str, float]:
        return means(split, score)

    others = np.roll(split.users, 1)
    own, shuffled = [], []
    for seed in range(seeds):
        encoder = rankers.trained(split.known, options, seed)
        score = scorer(encoder, split.known)
        own.append(judged(score))
        shuffled.append(judged(lambda users, score=score: score(others[np.searchsorted(split.users, users)])))  # type: ignore[misc]
        if seed == 0:
            encoder.save_pretrained(out / "sequence")
    result: dict[str, object] = {
        "seeds": seeds,
        "users": len(split.users),
        "items": len(table.items),
        "hidden": len(split.hidden),
        "counts": table.counts,
        "encoder": over_seeds(own),
        "shuffled": over_seeds(shuffled),
        "popularity": over_seeds([judged(popularity(split.known, {}, 0))]),
        "steps": rankers.round * int(options.get("rounds", rankers.rounds)),
        "config": asdict(rankers.setup(len(table.items), options, True)),
    }
    (out / "sequence" / "evaluation.json").write_text(json.dumps(result, indent=2))
    return result


def converged(rankers: SequenceRankers, known: Interactions) -> dict[str, float]:
    """The option "rounds", by NDCG@20 on a validation split of what is known; nothing if too few users are left in it."""
    inner = leave_last(known, HIDDEN, LEAST)
    if len(inner.users) < 2:
        return {}
    values = rankers.converged(inner.known, {}, lambda score: means(inner, score)["ndcg@20"], Rounds())
    return {"rounds": best(values)}


def means(split: Split, score: Scorer) -> dict[str, float]:
    """JUDGED, over users."""
    table = figures(split, ranks_of(split, score, 20), (20,))
    return {name: interval(table[name])[0] for name in JUDGED}


def over_seeds(results: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """[mean, deviation] by name."""
    return {
        name: [round(float(f([result[name] for result in results])), 4) for f in (np.mean, np.std)]
        for name in results[0]
    }
