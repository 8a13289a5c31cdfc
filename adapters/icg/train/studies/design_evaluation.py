"""Whether designs reach their target KPI, on SIMULATED accounts with a known audience, judged by a model trained independently.

Designs for held-out titles by the tuned model and by the untuned VLM: alone, chosen by the model's own judge of designs (controls: permuted
accounts, a judge of shuffled KPIs), and by a search among samples with another judge. "high" must score above "medium", and "medium" above
"low".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from icg.data.bank import AXES
from icg.data.compose import PALETTES
from icg.data.engagement import BUCKETS
from icg.data.posts import World
from icg.design.features import features
from icg.design.judge import DesignJudge
from icg.design.kpi import DesignModel
from icg.design.palette import NAMED
from icg.design.schema import Design
from icg.train.engagement.recipe import TEST, TRAIN, Sample

FRAMING = {"large": "close", "medium": "medium", "small": "corner"}
SEARCHED = 8
HIGH = 2


class Truth:
    """The simulated audience's taste of a design: the appeal of the look nearest to it. Designs have no backdrop."""

    def __init__(self, world: World, sample: Sample, designs: Sequence[Design]) -> None:
        self._world = world
        colours, palette = features(designs)[:, : len(NAMED)], sample.posts.look[:, 1]
        absent = np.full(colours.shape[1], np.inf, colours.dtype)  # a palette without posts is nearest to no design
        rows = [colours[palette == n] for n in range(len(PALETTES))]
        self._palettes = np.stack([of.mean(0) if len(of) else absent for of in rows])

    def __call__(self, designs: Sequence[Design], account: np.ndarray) -> np.ndarray:
        """account (N,) numbers -> (N,)."""
        colours = features(designs)[:, : len(NAMED)]
        palette = ((colours[:, None] - self._palettes) ** 2).sum(2).argmin(1)
        style = np.array([AXES[0].index(d.style) for d in designs])
        framing = np.array([AXES[3].index(FRAMING[d.size]) for d in designs])
        e, t = self._world.everyone, self._world.deviations
        effects = ((0, style), (1, palette), (3, framing))
        return np.sum([e[axis][value] + t[axis][account, value] for axis, value in effects], 0)


@dataclass(frozen=True)
class DesignItems:
    """Items to design: titles, account names and numbers, times."""

    titles: list[str]
    names: list[str]
    account: np.ndarray
    time: np.ndarray

    @classmethod
    def of(cls, sample: Sample, rows: np.ndarray) -> DesignItems:
        """The posts `rows` of a sample."""
        names = [str(sample.read.account[n]) for n in rows]
        return cls([sample.titles[n] for n in rows], names, sample.posts.account[rows], sample.posts.time[rows])


Writer = Callable[[str, str, str, float], Design]
"""(title, target, account, time) -> a design."""


def by_bucket(writer: Writer, items: DesignItems) -> list[list[Design]]:
    """For each bucket, low first, a design of each item."""
    rows = list(zip(items.titles, items.names, items.time, strict=True))
    return [[writer(title, target, name, float(time)) for title, name, time in rows] for target in BUCKETS]


def ordered(scores: Sequence[np.ndarray]) -> float:
    """Share of items with low < medium < high; scores (N,) of each bucket."""
    low, medium, high = scores
    return float(((low < medium) & (medium < high)).mean())


def searching(model: DesignModel, judge: DesignJudge, count: int = SEARCHED) -> Writer:
    """Search: of `count` sampled designs the one that `judge` ranks highest, in the middle, or lowest."""

    def write(title: str, target: str, account: str, time: float) -> Design:
        samples = model.write(title, target, account, time, count, temperature=1.0)
        order = np.argsort(judge(samples, [account] * count))
        return samples[order[{"low": 0, "medium": count // 2, "high": -1}[target]]]

    return write


def plain(model: DesignModel) -> Writer:
    """The model's own choice."""
    return lambda title, target, account, time: model.write(title, target, account, time)[0]


def agreement(written: Sequence[Design], described: Sequence[Design]) -> dict[str, float]:
    """Agreement of designs with descriptions of pictures: precision and recall of colours, shares of equal tones, size, style, objects."""
    pairs = list(zip(written, described, strict=True))
    sets = [({n for n, _ in a.colours}, {n for n, _ in b.colours}) for a, b in pairs]
    return {
        "colour precision": float(np.mean([len(a & b) / len(a) for a, b in sets])),
        "colour recall": float(np.mean([len(a & b) / len(b) for a, b in sets])),
        "tones": float(np.mean([[x == y for x, y in zip(a.tones, b.tones, strict=True)] for a, b in pairs])),
        "size": float(np.mean([a.size == b.size for a, b in pairs])),
        "style": float(np.mean([a.style == b.style for a, b in pairs])),
        "objects": float(np.mean([bool(set(a.objects) & set(b.objects)) for a, b in pairs])),
    }


def evaluate(
    tuned: DesignModel, untuned: DesignModel, sample: Sample, designs: Sequence[Design], items: int, seed: int
) -> dict[str, dict[str, float]]:
    """A row for each writer: share of ordered items by judge and by truth, and the mean appeal of "high" and "low"."""
    rng = np.random.default_rng(seed)
    unseen = np.flatnonzero(sample.read.split != TRAIN)
    half = rng.permutation(unseen)
    logs = np.log1p(sample.read.kpi)
    parts = [half[: len(half) // 2], half[len(half) // 2 :]]
    judge, other = (DesignJudge.fit([designs[n] for n in p], sample.read.account[p], logs[p]) for p in parts)
    training = np.flatnonzero(sample.read.split == TRAIN)
    shuffled = DesignJudge.fit(
        [designs[n] for n in training], sample.read.account[training], rng.permutation(logs[training])
    )
    truth = Truth(sample.world, sample, designs)
    rows = rng.choice(np.flatnonzero(sample.read.split == TEST), items, replace=False)
    posts = DesignItems.of(sample, rows)
    permuted = replace(posts, names=[posts.names[n] for n in rng.permutation(items)])
    writers = {
        "tuned": (plain(tuned), posts),
        "tuned, accounts changed round": (plain(tuned), permuted),
        "tuned, chosen by a judge of shuffled KPIs": (plain(tuned.judged_by(shuffled)), posts),
        "tuned, the likeliest alone": (plain(tuned.judged_by(None)), posts),
        "untuned": (plain(untuned), posts),
        "untuned, chosen by the same judge": (plain(untuned.judged_by(tuned.judge)), posts),
        f"untuned, best of {SEARCHED}": (searching(untuned, other), posts),
        f"tuned, best of {SEARCHED}": (searching(tuned, other), posts),
    }
    out: dict[str, dict[str, float]] = {}
    high_posts = np.flatnonzero(sample.read.bucket[rows] == HIGH)
    described = [designs[rows[n]] for n in high_posts]
    for name, (writer, prompts) in writers.items():
        written = by_bucket(writer, prompts)
        by_judge = [judge(d, posts.names) for d in written]
        by_truth = [truth(d, posts.account) for d in written]
        out[name] = {
            "order": ordered(by_judge),
            "order by truth": ordered(by_truth),
            "high over low": float((by_truth[HIGH] > by_truth[0]).mean()),
            "appeal of high": float(by_truth[HIGH].mean()),
            "appeal of low": float(by_truth[0].mean()),
        }
        if described and not name.endswith("round"):
            out[name] |= agreement([written[HIGH][n] for n in high_posts], described)
    return out
