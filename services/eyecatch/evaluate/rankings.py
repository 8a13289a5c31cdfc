"""The rankers of a recall job: each with what it is tuned over, and how it is measured. Knows no store.

Of every ranker the same number of configurations is tried on a validation split (the known part, split as the whole was), each until it
no longer improves there. It is then fitted on the known part with the best of them; nothing is chosen on the hidden events.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from icg.data.interactions import Split
from icg.evaluate.peers import Options, Peer
from icg.evaluate.ranking import Ranks, Scorer, figures, ranks_of
from icg.evaluate.stopping import Rounds, best

from eyecatch.evaluate.run_folder import DEPTH, RunFolder

TUNED_FOR = "ndcg@20"


@dataclass(frozen=True)
class Tried:
    """A configuration on the validation split: its value there, and the seconds it took, since the last interruption. rounds: of an
    iterative training, those that it ran; the option "rounds" is the best of them."""

    options: dict[str, float]
    value: float
    seconds: float
    rounds: int = 0


@dataclass(frozen=True, eq=False)
class Ranking:
    """A ranker on the test split: its ranks, one a seed, the options chosen, and what was tried."""

    name: str
    ranks: Sequence[Ranks]
    options: dict[str, float]
    tried: Sequence[Tried] = ()


@dataclass(frozen=True, eq=False)
class Trial:
    """Options of a peer -> a Tried, as JSON."""

    peer: Peer
    validation: Split
    rounds: Rounds

    def __call__(self, options: Options) -> bytes:
        began, values, known = time.monotonic(), list[float](), self.validation.known
        if self.peer.converge is None:
            value = self._value(self.peer.fit(known, options, 0))
        else:
            values = self.peer.converge(known, options, self._value, self.rounds)
            value, options = max(values), {**options, "rounds": best(values)}
        return json.dumps(asdict(Tried(dict(options), value, time.monotonic() - began, len(values)))).encode()

    def _value(self, scorer: Scorer) -> float:
        ranks = ranks_of(self.validation, scorer, DEPTH)
        return float(np.nanmean(figures(self.validation, ranks, (20,))[TUNED_FOR]))


def tuned(
    peer: Peer, validation: Split | None, trials: int, rounds: Rounds, results: RunFolder
) -> tuple[dict[str, float], list[Tried]]:
    """The options with the best NDCG@20 on the validation split among the first `trials` of the grid, ties to the earlier; what was tried.
    A peer without anything to choose is not tried."""
    grid = list(peer.grid)[:trials]
    if validation is None or not len(validation.users) or (len(grid) < 2 and peer.converge is None):
        return dict(grid[0]), []
    names = [f"{peer.name} trial {n}" for n in range(len(grid))]
    tries = [Tried(**json.loads(data)) for data in results.shards(names, grid, lambda: Trial(peer, validation, rounds))]
    return max(tries, key=lambda one: one.value).options, tries


def measured(
    peer: Peer,
    split: Split,
    validation: Split | None,
    trials: int,
    seeds: int,
    rounds: Rounds,
    results: RunFolder,
    log: Callable[[str], None],
) -> Ranking:
    """Tune, then fit on the known part, once a seed."""
    options, tried = tuned(peer, validation, trials, rounds, results)
    ranks = [
        results.ranks(f"{peer.name} seed {seed}", split, partial(peer.fit, split.known, options, seed))
        for seed in range(seeds if peer.seeded else 1)
    ]
    log(f"{peer.name}: {len(tried)} tried in {sum(one.seconds for one in tried):.0f} s, {options}")
    return Ranking(peer.name, ranks, options, tried)


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
