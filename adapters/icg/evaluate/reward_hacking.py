"""A watch on reward hacking: held-out rewards and diversity besides the trained reward. Knows no training method.

A model that exploits its rewards makes all covers alike, or raises the trained reward while a held-out one falls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.contact_sheet import Cell, Row, contact_sheet
from icg.draw.pipeline import CoverPipeline
from icg.rewards.base import Reward

LEAST_DIVERSITY = 0.9
"""Relative to the diversity before training."""
COLUMNS = 8
"""Covers in a row of the contact sheets."""
LOSS = 0.5
"""Deviations over the held-out covers by which a reward may fall below its value before training."""


@dataclass(eq=False)
class Watch:
    """Draws the same held-out `briefs` (with users and items outside training) at each look and rates them by all `rewards`.

    features: pictures -> (N, D), other than the features that the rewards read. figures: other figures of the covers to log, by name.
    path: one JSON line a look; contact sheets are written to its folder. stops=False: only logs.
    """

    path: Path
    briefs: list[Brief]
    rewards: Mapping[str, Reward]
    features: Callable[[list[Image.Image]], np.ndarray]
    batch: int = 16
    figures: Mapping[str, Callable[[list[Image.Image]], float]] = field(default_factory=dict)
    stops: bool = True
    first: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)

    def look(self, step: int, pipeline: CoverPipeline) -> bool:
        """Rate; True if training should stop: diversity is below LEAST_DIVERSITY, or a reward has fallen by LOSS deviations."""
        parts = [pipeline(self.briefs[i : i + self.batch]) for i in range(0, len(self.briefs), self.batch)]
        covers = [cover for part in parts for cover in part]
        values = {name: reward(covers, self.briefs) for name, reward in self.rewards.items()}
        now = {name: float(v.mean()) for name, v in values.items()} | {"diversity": diversity(self.features(covers))}
        if not self.first:
            self.first, self.spread = now, {name: float(v.std()) for name, v in values.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            more = {name: figure(covers) for name, figure in self.figures.items()}
            file.write(json.dumps({"step": step, **now, **more}) + "\n")
        cells = [Cell(cover) for cover in covers]
        rows = [Row("", "", cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
        contact_sheet(rows, cell=max(covers[0].size)).save(self.path.with_name(f"covers_{step:06}.png"))
        fallen = [n for n, spread in self.spread.items() if now[n] < self.first[n] - LOSS * max(spread, 1e-6)]
        return self.stops and (bool(fallen) or now["diversity"] < LEAST_DIVERSITY * self.first["diversity"])


def diversity(features: np.ndarray) -> float:
    """(N, D) -> mean distance between two rows."""
    x = features.astype(np.float64)
    square = (x**2).sum(1)
    distance = np.sqrt(np.maximum(square[:, None] + square - 2 * x @ x.T, 0))
    return float(distance.sum() / max(len(x) * (len(x) - 1), 1))
