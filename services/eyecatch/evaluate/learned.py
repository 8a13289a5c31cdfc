"""What a recall job trains: peers, SASRec, and the sequence encoder with its controls. Knows no store."""

from collections.abc import Callable

import numpy as np
from icg.data.interactions import Interactions, Split
from icg.evaluate.peers import MEMORY, PEERS, Options, Peer
from icg.evaluate.ranking import Scorer

from eyecatch.evaluate.behaviour import BehaviourTable
from eyecatch.evaluate.profiles import swapped
from eyecatch.evaluate.rankings import Ranking, measured
from eyecatch.evaluate.run_folder import RunFolder
from eyecatch.evaluate.settings import RecallSettings

OURS = "encoder + memory"
"""The sequence encoder, and the closed form that knows which items came last, added."""
WEIGHTS = (2.0, 4.0, 1.0, 8.0, 0.5)


def learned(
    behaviour: BehaviourTable,
    split: Split,
    validation: Split | None,
    settings: RecallSettings,
    results: RunFolder,
    log: Callable[[str], None],
) -> tuple[list[Ranking], Scorer]:
    """The rankings, and the scores of OURS of the first seed. Raises IcgError if a library of the peers is missing."""
    from icg.train.users.rankers import SequenceRankers
    from icg.users.sequence import Content

    covers = behaviour.covers
    looks = np.zeros((len(behaviour.items), covers.rows.shape[1]), np.float32)
    np.add.at(looks, covers.item_of[~covers.generated], covers.rows[~covers.generated])
    looks /= np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-6)
    content = Content.of([f"{item.title} {item.category}" for item in behaviour.items], looks)
    sequences = SequenceRankers(results.folder / "fits", content, settings.steps)

    def of(peer: Peer) -> Ranking:
        return measured(peer, split, validation, settings.trials, settings.seeds, results, log)

    encoder = sequences.encoder()
    rankings = [of(peer) for peer in (*PEERS, sequences.sasrec(), encoder, MEMORY)]
    by_name = {ranking.name: ranking for ranking in rankings}
    both = blend(encoder, by_name["encoder"].options, MEMORY, by_name["memory"].options)
    rankings.append(of(both))
    own = both.fit(split.known, rankings[-1].options, 0)
    others = split.users[swapped(len(split.users), settings.seed)]

    def another(users: np.ndarray) -> np.ndarray:
        scores: np.ndarray = own(others[np.searchsorted(split.users, users)])
        return scores

    name = f"{OURS}, shuffled"
    shuffled = results.ranks(name, split, lambda: another)
    rankings.append(Ranking(name, [shuffled], rankings[-1].options, 0, 0.0))
    return rankings, own


def blend(first: Peer, options: Options, second: Peer, others: Options) -> Peer:
    """Standardised scores of `first` and a weight times those of `second`, a weight for each configuration."""

    def fit(known: Interactions, weights: Options, seed: int) -> Scorer:
        one, two = first.fit(known, options, seed), second.fit(known, others, seed)
        return lambda users: _standard(one(users)) + weights["weight"] * _standard(two(users))

    grid = tuple({"weight": weight} for weight in WEIGHTS)
    return Peer(f"{first.name} + {second.name}", fit, grid, first.seeded or second.seeded)


def _standard(scores: np.ndarray) -> np.ndarray:
    spread = scores.std(axis=1, keepdims=True)
    out: np.ndarray = (scores - scores.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    return out
