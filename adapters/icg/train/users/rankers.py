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
from icg.evaluate.stopping import Judge, Rounds
from icg.train.loop import Fit
from icg.train.users.sequence import Recipe, Setup, run, scorer
from icg.users.sequence import Content, SequenceConfig, SequenceEncoder

FIT = Fit(steps=2_000, lr=2e-3, batch=32, warmup=50, ema=0.999, constant=True)
"""The rate is constant and weights are averaged, so that a training may end at any step."""
SASREC = Recipe(horizon=1, forget=0.0)
"""SASRec (arXiv:1808.09781) with the sampled softmax that makes it a strong one (arXiv:2307.14906)."""


@dataclass(frozen=True, eq=False)
class SequenceRankers:
    """`folder`: where runs are kept, each by what it was trained on and how; content of all items; most steps of a run, in so many
    `rounds`."""

    folder: Path
    content: Content
    steps: int = FIT.steps
    rounds: int = 20

    def sasrec(self) -> Peer:
        """The transformer on item numbers alone."""
        return self._peer("SASRec", False)

    def encoder(self) -> Peer:
        """The sequence encoder."""
        return self._peer("encoder", True)

    def _peer(self, name: str, content: bool) -> Peer:
        def fit(known: Interactions, options: Options, seed: int) -> Scorer:
            return scorer(self.trained(known, options, seed, content), known)

        def converge(known: Interactions, options: Options, judge: Judge, rounds: Rounds) -> list[float]:
            return self.converged(known, options, judge, rounds, content)

        return Peer(name, fit, GRID, True, converge)

    @property
    def round(self) -> int:
        """Steps of a round."""
        return max(1, self.steps // self.rounds)

    def trained(self, known: Interactions, options: Options, seed: int, content: bool = True) -> SequenceEncoder:
        """The encoder of these options, after as many rounds as they say; a run that was interrupted goes on where it stopped."""
        return self._run(known, options, seed, content, self.round * int(options.get("rounds", self.rounds)))

    def converged(
        self, known: Interactions, options: Options, judge: Judge, rounds: Rounds, content: bool = True
    ) -> list[float]:
        """The value of each round of a training with seed 0, until the rounds are over. Values are kept in the run's folder, since a run
        that was interrupted cannot go back to judge an earlier round."""
        rounds = replace(rounds, most=min(rounds.most, max(1, self.steps // self.round)))
        path = self._folder(known, options, 0, content) / "rounds.json"
        values: list[float] = json.loads(path.read_text()) if path.is_file() else []
        while not rounds.over(values):
            encoder = self._run(known, options, 0, content, self.round * (len(values) + 1))
            values.append(judge(scorer(encoder, known)))
            part = path.with_suffix(".tmp")
            part.write_text(json.dumps(values))
            part.replace(path)
        return values

    def _run(self, known: Interactions, options: Options, seed: int, content: bool, until: int) -> SequenceEncoder:
        setup, fit = self.setup(known.items, options, content), self.fit(options, seed)
        folder = self._folder(known, options, seed, content)
        return run(folder, known, self.content if content else None, replace(fit, steps=until), setup, quiet=True)

    def _folder(self, known: Interactions, options: Options, seed: int, content: bool) -> Path:
        """Of runs of any length: the first steps of a longer one are those of a shorter one. Without "rounds" it is that of a tuning,
        which may have gone on after its best round."""
        setup, fit = self.setup(known.items, options, content), self.fit(options, seed)
        digest = hashlib.sha256(json.dumps([repr(setup), repr(fit), options.get("rounds", 0)]).encode())
        for column in (known.user, known.item, known.time, known.action, known.positive):
            digest.update(column.tobytes())
        return self.folder / digest.hexdigest()[:16]

    def setup(self, items: int, options: Options, content: bool) -> Setup:
        """Options beside those of `fit`: width, layers, dropout, window, horizon, forget, negatives, strength; all else as in
        the defaults."""
        model = SequenceConfig(
            items,
            self.content.covers.shape[1],
            content=content,
            width=int(options.get("width", 64)),
            layers=int(options.get("layers", 2)),
            window=int(options.get("window", 50)),
            dropout=options.get("dropout", 0.3),
        )
        base = Recipe() if content else SASREC
        recipe = replace(
            base,
            horizon=int(options.get("horizon", base.horizon)),
            forget=options.get("forget", base.forget),
            negatives=int(options.get("negatives", base.negatives)),
            strength=options.get("strength", base.strength),
        )
        return Setup(model, recipe)

    def fit(self, options: Mapping[str, float], seed: int) -> Fit:
        """Options: rate, decay (of weights)."""
        rate, decay = options.get("rate", FIT.lr), options.get("decay", FIT.weight_decay)
        return replace(FIT, lr=rate, weight_decay=decay, seed=seed, save_every=self.round, steps=self.steps)


GRID: tuple[Options, ...] = (
    {},
    {"strength": 24, "rate": 1e-3},
    {"dropout": 0.5},
    {"rate": 1e-3},
    {"window": 100},
    {"width": 128},
    {"decay": 0.3},
    {"layers": 1},
)
