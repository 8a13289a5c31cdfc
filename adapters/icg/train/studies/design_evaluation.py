"""Do designs reach the KPI they are asked for? On SIMULATED accounts whose audience's taste is known, judged by a model trained apart.

Judged are designs written for held-out titles by the tuned model and by the untuned VLM: alone, chosen by the model's own judge of designs
(for control with accounts changed round, or by a judge of shuffled KPIs), and by a search among samples that goes by another judge. "high"
must be above "medium", and that above "low".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """What the simulated audience thinks of a design: the appeal of the look that is nearest to it. Backdrops are in no design."""

    def __init__(self, world: World, sample: Sample, designs: Sequence[Design]) -> None:
        self._world = world
        seen, palette = features(designs)[:, : len(NAMED)], sample.made.look[:, 1]
        self._palettes = np.stack([seen[palette == n].mean(0) for n in range(len(PALETTES))])

    def __call__(self, designs: Sequence[Design], account: np.ndarray) -> np.ndarray:
        """account (N,) numbers -> (N,)."""
        colours = features(designs)[:, : len(NAMED)]
        palette = ((colours[:, None] - self._palettes) ** 2).sum(2).argmin(1)
        style = np.array([AXES[0].index(d.style) for d in designs])
        framing = np.array([AXES[3].index(FRAMING[d.size]) for d in designs])
        e, t = self._world.everyone, self._world.theirs
        return (
            e[0][style] + t[0][account, style] + e[1][palette] + t[1][account, palette] + e[3][framing] + t[3][account, framing]
        )  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """Items to write for: titles, account names and numbers, times."""

    titles: list[str]
    names: list[str]
    account: np.ndarray
    time: np.ndarray

    @classmethod
    def of(cls, sample: Sample, rows: np.ndarray) -> Asked:
        return cls(
            [sample.titles[n] for n in rows], [str(sample.read.account[n]) for n in rows], sample.made.account[rows],
            sample.made.time[rows],
        )  # fmt: skip


Writer = Callable[[str, str, str, float], Design]
"""(title, target, account, time) -> a design."""


def by_bucket(writer: Writer, asked: Asked) -> list[list[Design]]:
    """For each bucket, low first, a design of each item."""
    rows = list(zip(asked.titles, asked.names, asked.time, strict=True))
    return [[writer(title, target, name, float(time)) for title, name, time in rows] for target in BUCKETS]


def ordered(scores: Sequence[np.ndarray]) -> float:
    """Share of items with low < medium < high; scores (N,) of each bucket."""
    low, medium, high = scores
    return float(((low < medium) & (medium < high)).mean())


def searching(model: DesignModel, judge: DesignJudge, count: int = SEARCHED) -> Writer:
    """Prompt-space search: of `count` sampled designs that which `judge` puts highest, in the middle, or lowest."""

    def write(title: str, target: str, account: str, time: float) -> Design:
        found = model.write(title, target, account, time, count, temperature=1.0)
        order = np.argsort(judge(found, [account] * count))
        return found[order[{"low": 0, "medium": count // 2, "high": -1}[target]]]

    return write


def plain(model: DesignModel) -> Writer:
    """The model's own choice."""
    return lambda title, target, account, time: model.write(title, target, account, time)[0]


def agreement(written: Sequence[Design], shown: Sequence[Design]) -> dict[str, float]:
    """How far designs agree with what pictures show: precision and recall of colours, shares of equal tones, size, style and objects."""
    pairs = list(zip(written, shown, strict=True))
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
    """A row for each writer: the order's share by judge and by truth, and the mean appeal of "high" less that of "low"."""
    rng = np.random.default_rng(seed)
    unseen = np.flatnonzero(sample.read.split != TRAIN)
    half = rng.permutation(unseen)
    logs = np.log1p(sample.read.kpi)
    parts = [half[: len(half) // 2], half[len(half) // 2 :]]
    judge, other = (DesignJudge.fit([designs[n] for n in p], sample.read.account[p], logs[p]) for p in parts)
    seen = np.flatnonzero(sample.read.split == TRAIN)
    shuffled = DesignJudge.fit([designs[n] for n in seen], sample.read.account[seen], rng.permutation(logs[seen]))
    truth = Truth(sample.world, sample, designs)
    rows = rng.choice(np.flatnonzero(sample.read.split == TEST), items, replace=False)
    asked = Asked.of(sample, rows)
    swapped = rng.permutation(items)
    turned = Asked(asked.titles, [asked.names[n] for n in swapped], asked.account, asked.time)
    writers = {
        "tuned": (plain(tuned), asked),
        "tuned, accounts changed round": (plain(tuned), turned),
        "tuned, chosen by a judge of shuffled KPIs": (plain(tuned.judged_by(shuffled)), asked),
        "tuned, the likeliest alone": (plain(tuned.judged_by(None)), asked),
        "untuned": (plain(untuned), asked),
        "untuned, chosen by the same judge": (plain(untuned.judged_by(tuned.judge)), asked),
        f"untuned, best of {SEARCHED}": (searching(untuned, other), asked),
        f"tuned, best of {SEARCHED}": (searching(tuned, other), asked),
    }
    out: dict[str, dict[str, float]] = {}
    for name, (writer, whose) in writers.items():
        made = by_bucket(writer, whose)
        judged, true = (
            [f(d) for d in made] for f in (lambda d: judge(d, asked.names), lambda d: truth(d, asked.account))
        )
        out[name] = {
            "order": ordered(judged), "order by truth": ordered(true), "high over low": float((true[HIGH] > true[0]).mean()),
            "appeal of high": float(true[HIGH].mean()), "appeal of low": float(true[0].mean()),
        }  # fmt: skip
        if not name.endswith("round"):
            liked = np.flatnonzero(sample.read.bucket[rows] == HIGH)
            shown = [designs[rows[n]] for n in liked]
            out[name] |= agreement([made[HIGH][n] for n in liked], shown) if shown else {}
    return out
