"""The rankers of a recall job: each with what it is tuned over, and how it is measured. Knows no store.

Of every ranker the same number of configurations is tried on a validation split (the known part, split as the whole was). It is then fitted
on the known part with the best of them; nothing is chosen on the hidden events.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from icg.data.interactions import Split
from icg.evaluate.peers import Options, Peer
from icg.evaluate.ranking import Ranks, figures, ranks_of

from eyecatch.evaluate.run_folder import DEPTH, RunFolder

TUNED_FOR = "ndcg@20"


@dataclass(frozen=True, eq=False)
class Ranking:
    """A ranker on the test split: its ranks, one a seed, the options chosen and how many were tried in how many seconds."""

    name: str
    ranks: Sequence[Ranks]
    options: dict[str, float]
    tried: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Trial:
    """Options of a peer -> its value on the validation split and the seconds it took, as JSON."""

    peer: Peer
    validation: Split

    def __call__(self, options: Options) -> bytes:
        began = time.monotonic()
        ranks = ranks_of(self.validation, self.peer.fit(self.validation.known, options, 0), DEPTH)
        value = float(np.nanmean(figures(self.validation, ranks, (20,))[TUNED_FOR]))
        return json.dumps({"value": value, "seconds": time.monotonic() - began}).encode()


def tuned(peer: Peer, validation: Split | None, trials: int, results: RunFolder) -> tuple[dict[str, float], int, float]:
    """The options with the best NDCG@20 on the validation split among the first `trials` of the grid, ties to the earlier; how many were
    tried; seconds."""
    grid = list(peer.grid)[:trials]
    if validation is None or not len(validation.users) or len(grid) < 2:
        return dict(grid[0]), 0, 0.0
    names = [f"{peer.name} trial {n}" for n in range(len(grid))]
    tries = [json.loads(data) for data in results.shards(names, grid, lambda: Trial(peer, validation))]
    best = max(range(len(grid)), key=lambda n: (tries[n]["value"], -n))
    return dict(grid[best]), len(grid), sum(one["seconds"] for one in tries)


def measured(
    peer: Peer,
    split: Split,
    validation: Split | None,
    trials: int,
    seeds: int,
    results: RunFolder,
    log: Callable[[str], None],
) -> Ranking:
    """Tune, then fit on the known part, once a seed."""
    options, tried, seconds = tuned(peer, validation, trials, results)
    ranks = [
        results.ranks(f"{peer.name} seed {seed}", split, partial(peer.fit, split.known, options, seed))
        for seed in range(seeds if peer.seeded else 1)
    ]
    log(f"{peer.name}: {tried} tried, {options}")
    return Ranking(peer.name, ranks, options, tried, seconds)


def of_users(split: Split, rankings: Sequence[Ranks], ks: Sequence[int], chosen: Any = None) -> dict[str, Any]:
    """(Q,) means over seeds of each figure, and for each the deviation over seeds of its mean over users."""
    tables = [figures(split, ranks, ks, chosen) for ranks in rankings]
    means = {name: np.mean([table[name] for table in tables], axis=0) for name in tables[0]}
    spread = {
        name: float(np.std([_mean(table[name]) for table in tables])) if len(tables) > 1 else 0.0 for name in tables[0]
    }
    return {"values": means, "spread": spread}


def _mean(values: Any) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else 0.0
