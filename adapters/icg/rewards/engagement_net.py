"""The network of the engagement reward: features of a post, its account's habits and its time -> a distribution over the KPI.

Knows no picture and no VLM.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from icg.checkpoints import load_module, save_module

WEEK = 7 * 24 * 3600
BUCKETS = 3


@dataclass(frozen=True)
class Habit:
    """An account's statistics: mean and deviation of log(1 + KPI), and the number of its posts. NOBODY for no account."""

    mean: float
    deviation: float
    posts: int


NOBODY = Habit(0.0, 0.0, 0)
CONTEXT = 10
"""Length of `context`: four numbers of an account, six of a time."""


def habits(account: Sequence[str], kpi: np.ndarray) -> dict[str, Habit]:
    """Habits by account, from training posts: kpi (N,), 0 or more."""
    names = np.asarray(account, str)
    logs = np.log1p(kpi)
    return {
        str(n): Habit(float(v.mean()), float(v.std()), len(v)) for n in np.unique(names) for v in (logs[names == n],)
    }


def context(habit: Habit, time: float | None) -> np.ndarray:
    """(CONTEXT,) float32. time: UTC seconds as hour and day of the week on circles and years since 2020; None for an unknown one."""
    account = (habit.mean, habit.deviation, math.log1p(habit.posts), 1.0) if habit.posts else (0.0,) * 4
    if time is None:
        return np.array([*account, *(0.0,) * 6], np.float32)
    day, week = (2 * math.pi * (time % span) / span for span in (WEEK / 7, WEEK))
    years = (time - 1577836800) / (365.25 * 24 * 3600)
    return np.array(
        [*account, math.sin(day), math.cos(day), math.sin(week), math.cos(week), years / 10, 1.0], np.float32
    )


@dataclass(frozen=True)
class EngagementConfig:
    """`content`: width of the features of a picture with its text."""

    content: int
    hidden: int = 48
    dropout: float = 0.3


class EngagementNet(nn.Module):
    """content (B, content) and context (B, CONTEXT) -> mean and log-deviation of the standardised log-KPI (B,), bucket logits (B, 3).

    An account's mean is added to the output, so that the picture explains the rest.
    """

    def __init__(self, config: EngagementConfig) -> None:
        super().__init__()
        self.config = config
        for name, size in (("content", config.content), ("context", CONTEXT), ("kpi", 1)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_deviation", torch.ones(size))
        self.read = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.content, config.hidden), nn.GELU())
        self.about = nn.Sequential(nn.Linear(CONTEXT, config.hidden), nn.GELU())
        self.out = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.hidden, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, 2 + BUCKETS),
        )

    def forward(self, content: Tensor, about: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Content saturates at four deviations: a reward must not grow with inputs unlike its training data."""
        content = 4 * torch.tanh((content - self.content_mean) / self.content_deviation / 4)
        standard = (about - self.context_mean) / self.context_deviation
        out = self.out(torch.cat([self.read(content), self.about(standard)], 1))
        return (
            out[:, 0] + (about[:, 0] - self.kpi_mean) / self.kpi_deviation * about[:, 3],
            out[:, 1].clamp(-3, 2),
            out[:, 2:],
        )

    def save_pretrained(self, folder: Path, accounts: Mapping[str, Habit]) -> None:
        """Write config.json, with the habits of `accounts`, and model.safetensors."""
        habits = {"accounts": {name: asdict(habit) for name, habit in accounts.items()}}
        save_module(folder, asdict(self.config) | habits, self, torch.float16)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> tuple[EngagementNet, dict[str, Habit]]:
        """Read a folder of `save_pretrained`. Raises CheckpointError if a file is missing or widths do not match."""
        accounts: dict[str, Habit] = {}

        def build(config: dict[str, Any]) -> EngagementNet:
            accounts.update({name: Habit(**habit) for name, habit in config.pop("accounts").items()})
            return cls(EngagementConfig(**config))

        return load_module("engagement", Path(folder), build).requires_grad_(False), accounts


@dataclass(frozen=True)
class EngagementPrediction:
    """For B posts: mean and deviation (B,) of log(1 + KPI), and probabilities (B, 3) of low, medium and high."""

    mean: np.ndarray
    deviation: np.ndarray
    buckets: np.ndarray


@torch.no_grad()
def predict(net: EngagementNet, content: Tensor, about: Tensor) -> EngagementPrediction:
    """content (B, D) and contexts (B, CONTEXT) -> the prediction of `net`."""
    mean, spread, logits = net(content, about)
    scale = net.kpi_deviation
    return EngagementPrediction(
        (mean * scale + net.kpi_mean).cpu().numpy(),
        (spread.exp() * scale).cpu().numpy(),
        logits.softmax(1).cpu().numpy(),
    )
