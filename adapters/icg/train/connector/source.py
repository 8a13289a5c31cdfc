"""Training data of a connector: prepared covers, their VLM readings, and the users who like them. Knows no loss.

Covers are numbered by their row in the list of prepared examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icg.adapter.model import IcgAdapter
from icg.data.behaviour import ENGAGED, Log
from icg.data.buckets import Epochs
from icg.data.precompute import PreparedExample, show, stack
from icg.data.shards import Shards
from icg.models import vlm as reading
from icg.users.histories import user_embedding

PRIORS = 0.5
"""Share of draws that show a user with a vector as the services do before the first event."""
Read = Callable[[list[PreparedExample], np.ndarray], Tensor]
"""(examples, whether the VLM sees each cover besides its title (B,)) -> (B, M, D_vlm)."""


@dataclass(eq=False)
class CoverUsers:
    """Users who engaged with a cover. `looks` (N, U): cover embeddings by row; `log`: ordered by users and time; `item` (N,). `priors`: of
    users with a vector of their own, (U,) by user, in whose place half of the draws show them."""

    log: Log
    looks: np.ndarray
    item: np.ndarray
    priors: Mapping[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        engaged = self.log.take(np.isin(self.log.action, ENGAGED))
        order = np.argsort(engaged.cover, kind="stable")
        self._cover, self._user = engaged.cover[order], engaged.user[order]
        self._of_user = engaged.cover
        self._start = np.searchsorted(engaged.user, np.arange(int(engaged.user.max(initial=-1)) + 2))

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B,) covers -> (B, U): for each the embedding of a user who engaged with it, from their other engagements or of their vector;
        zeros without one."""
        out = np.zeros((len(rows), self.looks.shape[1]), np.float32)
        first, last = np.searchsorted(self._cover, rows), np.searchsorted(self._cover, rows, "right")
        for n, (a, b) in enumerate(zip(first, last, strict=True)):
            if a < b:
                user = self._user[rng.integers(a, b)]
                if (prior := self.priors.get(int(user))) is not None and rng.random() < PRIORS:
                    out[n] = prior
                    continue
                liked = np.unique(self._of_user[self._start[user] : self._start[user + 1]])
                others = liked[self.item[liked] != self.item[rows[n]]]  # its own item would reveal the cover
                out[n] = user_embedding(self.looks[others], np.ones(len(others)))
        return out


class ConnectorSource:
    """Prepared examples in batches of one bucket; key 0 of an example is its latent's."""

    def __init__(
        self,
        prepared: list[PreparedExample],
        latents: Shards,
        read: Read,
        tastes: CoverUsers | None,
        batch: int,
        seed: int,
    ) -> None:
        shapes = [latents.shape(p.keys[0]) for p in prepared]
        number = {shape: n for n, shape in enumerate(sorted(set(shapes)))}
        self.bucket = np.array([number[shape] for shape in shapes], np.int64)
        self.prepared, self.latents, self.read, self.tastes = prepared, latents, read, tastes
        self.epochs = Epochs(self.bucket, batch, seed)

    def clean(self, rows: np.ndarray) -> Tensor:
        """(B, C, h, w) latents of examples of one bucket."""
        return stack(self.latents, [self.prepared[row].keys[0] for row in rows])

    def items(self, rows: np.ndarray, shown: np.ndarray) -> Tensor:
        """(B, M, D_vlm); shown (B,): whether the VLM sees the cover besides the title."""
        return self.read([self.prepared[row] for row in rows], shown)

    def users(self, rows: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
        """(B, width), zeros without a user."""
        return np.zeros((len(rows), width), np.float32) if self.tastes is None else self.tastes.draw(rows, rng)


def precomputed(with_cover: Shards, title_only: Shards) -> Read:
    """Readings from the disk: keys 1 and 2 of an example."""

    def read(examples: list[PreparedExample], shown: np.ndarray) -> Tensor:
        tensors = [
            with_cover.get(e.keys[1]) if s else title_only.get(e.keys[2]) for e, s in zip(examples, shown, strict=True)
        ]
        return torch.stack(tensors).float()

    return read


def by_vlm(vlm: Any, processor: Any, adapter: IcgAdapter) -> Read:
    """Readings by the VLM with the current meta tokens, one by one: their prompts have different lengths."""

    def read(examples: list[PreparedExample], shown: np.ndarray) -> Tensor:
        items = [(e.example.title, show(e.example) if s else ()) for e, s in zip(examples, shown, strict=True)]
        return torch.cat([adapter.read(vlm, reading.inputs(processor, *item)) for item in items])

    return read
