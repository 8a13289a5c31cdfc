"""Rankers that are trained on sequences, as peers of a recall job: SASRec, and the sequence encoder with content. Knows no service."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from icg.data.interactions import Interactions
from icg.evaluate.peers import Options, Peer
from icg.evaluate.ranking import Scorer
from icg.train.loop import Fit
from icg.train.users.sequence import Recipe, Setup, run, scorer
from icg.users.sequence import Content, SequenceConfig, SequenceEncoder

FIT = Fit(steps=600, lr=3e-3, batch=32, warmup=50, save_every=200)
SASREC = Recipe(horizon=1, forget=0.0)
"""SASRec (arXiv:1808.09781) with the sampled softmax that makes it a strong one (arXiv:2307.14906)."""


@dataclass(frozen=True, eq=False)
class SequenceRankers:
    """`folder`: where runs are kept, each by what it was trained on and how; content of all items; steps of a run."""

    folder: Path
    content: Content
    steps: int = FIT.steps

    def sasrec(self) -> Peer:
        """The transformer on item numbers alone."""
        return Peer("SASRec", lambda known, options, seed: self._fit(known, options, seed, False), GRID, True)

    def encoder(self) -> Peer:
        """The sequence encoder."""
        return Peer("encoder", lambda known, options, seed: self._fit(known, options, seed, True), GRID, True)

    def _fit(self, known: Interactions, options: Options, seed: int, content: bool) -> Scorer:
        return scorer(self.trained(known, options, seed, content), known)

    def trained(self, known: Interactions, options: Options, seed: int, content: bool = True) -> SequenceEncoder:
        """The encoder of these options; a run that was interrupted goes on where it stopped."""
        setup, fit = self.setup(known.items, options, content), self.fit(options, seed)
        digest = hashlib.sha256(json.dumps([repr(setup), repr(fit)]).encode())
        for column in (known.user, known.item, known.time, known.action, known.positive):
            digest.update(column.tobytes())
        return run(self.folder / digest.hexdigest()[:16], known, self.content if content else None, fit, setup)

    def setup(self, items: int, options: Options, content: bool) -> Setup:
        """Options beside those of `fit`: width, layers, dropout, window, horizon, forget, negatives; all else as in the defaults."""
        model = SequenceConfig(
            items,
            self.content.covers.shape[1],
            content=content,
            width=int(options.get("width", 64)),
            layers=int(options.get("layers", 2)),
            window=int(options.get("window", 50)),
            dropout=options.get("dropout", 0.2),
        )
        base = Recipe() if content else SASREC
        recipe = replace(
            base,
            horizon=int(options.get("horizon", base.horizon)),
            forget=options.get("forget", base.forget),
            negatives=int(options.get("negatives", base.negatives)),
        )
        return Setup(model, recipe)

    def fit(self, options: Mapping[str, float], seed: int) -> Fit:
        """Options: rate, decay (of weights), length (a multiple of the steps)."""
        steps = max(1, int(self.steps * options.get("length", 1.0)))
        rate, decay = options.get("rate", FIT.lr), options.get("decay", FIT.weight_decay)
        return replace(FIT, steps=steps, lr=rate, weight_decay=decay, seed=seed, warmup=min(FIT.warmup, steps))


GRID: tuple[Options, ...] = (
    {},
    {"dropout": 0.4},
    {"length": 2.0},
    {"rate": 1e-3, "length": 2.0},
    {"width": 128},
    {"window": 100},
    {"decay": 0.1},
    {"layers": 1},
)
