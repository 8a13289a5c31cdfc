"""Ranks designs by how much an audience likes them: a ridge regression of KPIs on designs. Knows no picture and no language model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from icg.design.features import WIDTH, features
from icg.design.schema import Design
from icg.errors import CheckpointError

RIDGE = 30.0
FILE = "judge.safetensors"


class DesignJudge:
    """Predicts a design's log-KPI above its account's mean. `weight` (1 + A, WIDTH): the taste of all audiences, then the difference of
    the audience of each of the `accounts`."""

    def __init__(self, weight: np.ndarray, accounts: Sequence[str]) -> None:
        self.weight, self.accounts = weight, {name: n for n, name in enumerate(accounts, 1)}

    @classmethod
    def fit(cls, designs: Sequence[Design], account: np.ndarray, log_kpi: np.ndarray) -> DesignJudge:
        """From N posts: their designs, account names (N,) and log-KPIs (N,)."""
        names, which = np.unique(account, return_inverse=True)
        rows = features(designs)
        x = np.zeros((len(rows), 1 + len(names), WIDTH), np.float32)
        x[:, 0], x[np.arange(len(rows)), 1 + which] = rows, rows
        flat = x.reshape(len(rows), -1)
        centred = log_kpi - np.array([log_kpi[which == n].mean() for n in range(len(names))])[which]
        weight = np.linalg.solve(flat.T @ flat + RIDGE * np.eye(flat.shape[1]), flat.T @ centred)
        return cls(weight.reshape(1 + len(names), WIDTH).astype(np.float32), [str(name) for name in names])

    def __call__(self, designs: Sequence[Design], account: Sequence[str]) -> np.ndarray:
        """(N,), with one account name a design; unknown accounts get the taste of all audiences."""
        account_weights = [
            self.weight[self.accounts[name]] if name in self.accounts else np.zeros(WIDTH) for name in account
        ]
        return (features(designs) * (self.weight[0] + np.stack(account_weights))).sum(1)

    def save_pretrained(self, folder: Path) -> None:
        """Write judge.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {"accounts": json.dumps(list(self.accounts))}
        save_file({"weight": self.weight.astype(np.float16)}, folder / FILE, metadata)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> DesignJudge:
        """Read a folder of `save_pretrained`. Raises CheckpointError if the file is missing or does not fit."""
        try:
            with safe_open(Path(folder) / FILE, "np") as file:
                weight, names = file.get_tensor("weight").astype(np.float32), json.loads(file.metadata()["accounts"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"design={str(folder)!r}: {error}; allowed: icg.train.engagement.design's folder"
            ) from error
        if weight.shape != (1 + len(names), WIDTH):
            raise CheckpointError(
                f"design={str(folder)!r}: weight of {weight.shape}; allowed: {(1 + len(names), WIDTH)}"
            )
        return cls(weight, names)
