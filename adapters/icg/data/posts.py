"""SIMULATED posts of accounts that publish covers: the audience's taste is known, so a model of it can be evaluated. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icg.data.art import CATEGORIES, Subject
from icg.data.bank import AXES, look_of
from icg.data.compose import compose, stable_seed
from icg.data.tastes import STRENGTH

START, SPAN = 1_700_000_000.0, 365 * 24 * 3600.0
HOURS = 24 * 3600


@dataclass(frozen=True)
class World:
    """The causes of engagement. `everyone` (values,), `deviations` (accounts, values): for each of a look's 4 axes, the effect on every
    account and in addition on each account. `scale` (accounts,): an account's mean log-KPI. `hour` (24,), `category` (5,): effects."""

    everyone: tuple[np.ndarray, ...]
    deviations: tuple[np.ndarray, ...]
    scale: np.ndarray
    hour: np.ndarray
    category: np.ndarray

    @classmethod
    def sample(cls, accounts: int, rng: np.random.Generator, visual: float = 0.35, individual: float = 0.2) -> World:
        """visual: effect of one axis of a look on the log-KPI of every account; individual: its additional effect on one account."""
        strength = np.array(STRENGTH[:4]) / np.mean(STRENGTH[:4])
        everyone = tuple(visual * s * _unit(rng.normal(size=len(axis))) for s, axis in zip(strength, AXES, strict=True))
        deviations = tuple(
            individual * s * rng.normal(size=(accounts, len(axis))) for s, axis in zip(strength, AXES, strict=True)
        )
        hour = 0.3 * np.cos(2 * np.pi * (np.arange(24) - 20) / 24)
        return cls(
            everyone, deviations, rng.normal(4.0, 1.2, accounts), hour, 0.2 * _unit(rng.normal(size=len(CATEGORIES)))
        )

    def appeal(self, look: np.ndarray, account: np.ndarray) -> np.ndarray:
        """look (N, 4), account (N,) -> (N,): the look's effect on the log-KPI."""
        parts = [
            (e[look[:, n]] + t[account, look[:, n]])
            for n, (e, t) in enumerate(zip(self.everyone, self.deviations, strict=True))
        ]
        return np.sum(parts, 0)


@dataclass(frozen=True)
class Simulated:
    """Columns of N posts in order of time; `appeal` is the truth, which no model gets. `images` (N, S, S, 3) uint8."""

    account: np.ndarray
    time: np.ndarray
    subject: np.ndarray
    look: np.ndarray
    images: np.ndarray
    kpi: np.ndarray
    appeal: np.ndarray


def simulate(
    world: World,
    subjects: list[Subject],
    count: int,
    rng: np.random.Generator,
    newcomers: float = 0.2,
    noise: float = 0.5,
    side: int = 96,
) -> Simulated:
    """`count` posts over a year. A share `newcomers` of the accounts, and all held-out subjects, occur only in its last 15 %."""
    accounts = len(world.scale)
    new = np.arange(accounts) < round(accounts * newcomers)
    time = np.sort(START + SPAN * rng.random(count))
    late = time >= np.quantile(time, 0.85)
    account = np.where(late, rng.integers(0, accounts, count), rng.integers(new.sum(), accounts, count))
    held = np.array([s.held_out for s in subjects])
    subject = np.where(late, rng.choice(np.flatnonzero(held), count), rng.choice(np.flatnonzero(~held), count))
    look = np.stack([rng.integers(0, len(axis), count) for axis in AXES], 1)
    appeal = world.appeal(look, account)
    category = np.array([CATEGORIES.index(subjects[s].category) for s in subject])
    log = world.scale[account] + appeal + world.hour[(time % HOURS // 3600).astype(int)] + world.category[category]
    kpi = np.floor(np.expm1(np.clip(log + noise * rng.normal(size=count), 0, 14)))
    images = np.stack(
        [
            np.asarray(compose(subjects[s].sprites[(code := look_of(row)).style], code, stable_seed("post", n), side))
            for n, (s, row) in enumerate(zip(subject, look, strict=True))
        ]
    )
    return Simulated(account, time, subject, look, images, kpi, appeal)


def _unit(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()
