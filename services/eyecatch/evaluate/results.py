"""The figures of a recall job as plain values, for JSON, the table and the report. Knows no ranker."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from icg.data.interactions import Split
from icg.evaluate.ranking import coverage, interval, thirds
from numpy.typing import NDArray

from eyecatch.evaluate.behaviour import BehaviourTable
from eyecatch.evaluate.rankings import Ranking, Tried, of_users

NOTE = "Held-out events among unseen items: this measures what the events record, which need not be clicks on covers."
BUCKETS = ("cold", "tail", "middle", "head")
"""Items by the number of users who are known to have engaged: none, and thirds of all engagements."""
HISTORIES = ((0, "no history"), (10, "1-10 engagements"), (30, "11-30 engagements"), (1 << 62, "31 or more"))
"""Users by their known engagements, at most so many."""
PEERS = ("popularity", "item-kNN", "EASE", "iALS", "BPR", "SASRec")
COMPARED = ("recall@20", "ndcg@20", "mrr")
COVERS = (
    ("made for the user", "made for nobody"),
    ("made for the user", "made for another"),
    ("made for nobody", "profile"),
    ("profile", "shuffled"),
)
"""Rankings by covers that are compared: what personal covers gain, what generated ones gain, and what the user's embedding does."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The mean over users and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> "Interval":
        """values: one a user, NaN for users who do not count."""
        return cls(*interval(values))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Figures:
    """One ranking. figures by name ("recall@K", "ndcg@K", "mrr"), of all users; spread: deviation over `seeds` of each; coverage: share
    of items in somebody's first 20; recall@20 by bucket of the hidden item and by history of the user. tried: on validation."""

    figures: Mapping[str, Interval]
    spread: Mapping[str, float]
    coverage: float
    by_popularity: Mapping[str, Interval]
    by_history: Mapping[str, Interval]
    options: Mapping[str, float]
    tried: Sequence[Tried]
    seeds: int


@dataclass(frozen=True)
class Cold:
    """recall@20 of hidden items without a known engagement, ranked among all such items; `over_random`: relative to chance."""

    name: str
    items: int
    hidden: int
    recall20: Interval
    chance: float
    over_random: Interval

    @classmethod
    def of(cls, name: str, values: Floats, items: int, hidden: int, chance: float) -> "Cold":
        """values (Q,): of each user, NaN without such an item."""
        recall = Interval.of(values)
        return cls(
            name, items, hidden, recall, chance, Interval(*(v / chance for v in (recall.mean, recall.low, recall.high)))
        )


@dataclass(frozen=True)
class Recall:
    """The result. counts: what is odd in the data, by reason. ahead: the ranking `ours` minus each other one, on the same users.
    covers: "one - other" of COVERS likewise. budget: of the tuning of each ranking."""

    users: int
    items: int
    held_out: int
    split: str
    target: str
    seed: int
    counts: Mapping[str, int]
    rankings: Mapping[str, Figures]
    cold_items: Sequence[Cold]
    ours: str
    ahead: Mapping[str, Mapping[str, Interval]]
    covers: Mapping[str, Mapping[str, Interval]]
    budget: Mapping[str, int]
    note: str = NOTE

    def as_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def summary(self) -> dict[str, object]:
        """One line for machines. The best peer is the one with the best recall@20 on the hidden events: the hardest to beat."""
        own = self.rankings[self.ours].figures
        peers = [name for name in PEERS if name in self.rankings]
        best = max(peers, key=lambda name: self.rankings[name].figures["recall@20"].mean)
        shuffled = "shuffled" if self.ours == "profile" else f"{self.ours}, shuffled"
        cold = [one.over_random.mean for one in self.cold_items if one.name == self.ours]
        return {
            "recall20": round(own["recall@20"].mean, 4),
            "ndcg20": round(own["ndcg@20"].mean, 4),
            "recall20_best_peer": round(self.rankings[best].figures["recall@20"].mean, 4),
            "ndcg20_best_peer": round(max(self.rankings[name].figures["ndcg@20"].mean for name in peers), 4),
            "best_peer": best,
            "recall20_shuffled": round(self.rankings[shuffled].figures["recall@20"].mean, 4),
            "cold_items_over_random": round(cold[0], 2) if cold else None,
        }


def row(ranking: Ranking, behaviour: BehaviourTable, split: Split, ks: Sequence[int]) -> Figures:
    """All figures of a ranking: recall and NDCG at `ks` and at 20."""
    ks = sorted({*ks, 20})
    table = of_users(split, ranking.ranks, ks)
    popularity = split.known.popularity()
    bucket = thirds(popularity)[split.hidden]
    engaged = np.bincount(split.known.pairs()[0], minlength=split.known.users)[split.users]
    values: Floats = table["values"]["recall@20"]
    by_popularity = {}
    for n, name in enumerate(BUCKETS):
        if (bucket == n).any():
            by_popularity[name] = Interval.of(of_users(split, ranking.ranks, (20,), bucket == n)["values"]["recall@20"])
    by_history, least = {}, -1
    for most, name in HISTORIES:
        mine = (engaged > least) & (engaged <= most)
        if mine.any():
            by_history[name] = Interval.of(values[mine])
        least = most
    return Figures(
        figures={name: Interval.of(column) for name, column in table["values"].items()},
        spread=table["spread"],
        coverage=float(np.mean([coverage(ranks, 20, len(behaviour.items)) for ranks in ranking.ranks])),
        by_popularity=by_popularity,
        by_history=by_history,
        options=ranking.options,
        tried=ranking.tried,
        seeds=len(ranking.ranks),
    )


def differences(
    rankings: Sequence[Ranking], split: Split, pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Interval]]:
    """The first minus the second of each pair of names: paired bootstrap intervals over users."""
    values = {ranking.name: of_users(split, ranking.ranks, (20,))["values"] for ranking in rankings}
    return [
        {metric: Interval.of(values[one][metric] - values[other][metric]) for metric in COMPARED}
        for one, other in pairs
    ]
