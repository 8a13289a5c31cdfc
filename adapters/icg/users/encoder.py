"""The user encoder: events -> user embeddings in cover-embedding space. Knows nothing about items, titles or drawing.

The sum of two parts: a decayed sum of covers, weighted by the user's actions and carried over all events, and the output of a small
causal transformer (as SASRec, arXiv:1808.09781) on the latest events. Preference is the dot product with a cover embedding.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.checkpoints import load_module, save_module
from icg.errors import IcgError
from icg.users.histories import DWELL_MS, GAP_S
from icg.users.histories import WINDOW as WINDOW


@dataclass(frozen=True)
class Events:
    """B users' events, oldest first, padded at the end to T: covers (B, T, D) float, action, dwell and gap (B, T) bucket numbers,
    length (B,). Without impressions: they are only examples of covers that were not chosen.
    """

    covers: Tensor
    action: Tensor
    dwell: Tensor
    gap: Tensor
    length: Tensor

    @classmethod
    def of(
        cls, covers: np.ndarray, action: np.ndarray, dwell_ms: np.ndarray, time: np.ndarray, length: np.ndarray
    ) -> Events:
        """From plain columns: covers (B, T, D), the others (B, T); time in seconds. Raises IcgError on NaN or infinity."""
        if not (np.isfinite(covers).all() and np.isfinite(time).all()):
            raise IcgError("cover embeddings or times hold NaN or infinity; allowed: finite numbers")
        gap = np.diff(time, axis=1, prepend=time[:, :1])
        buckets = [np.searchsorted(DWELL_MS, dwell_ms), np.searchsorted(GAP_S, gap)]
        columns = [torch.as_tensor(np.asarray(c, np.int64)) for c in (action, *buckets, length)]
        return cls(torch.as_tensor(covers, dtype=torch.float32), *columns)


@dataclass(frozen=True)
class UserConfig:
    """`embedding`: width of cover and user embeddings; the transformer's `width`, `layers` and `heads`; number of wire `actions`."""

    embedding: int = 64
    width: int = 96
    layers: int = 2
    heads: int = 4
    actions: int = 7


class UserEncoder(nn.Module):
    """Events -> the user embedding after each event."""

    def __init__(self, config: UserConfig = UserConfig()) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Linear(config.embedding, config.width)
        self.kinds = nn.ModuleList(
            nn.Embedding(n, config.width) for n in (config.actions, len(DWELL_MS) + 1, len(GAP_S) + 1)
        )
        self.weight = nn.ModuleList(nn.Embedding(n, 1) for n in (config.actions, len(DWELL_MS) + 1))
        self.decay = nn.Parameter(torch.tensor(3.0))
        self.start = nn.Parameter(torch.randn(config.width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 2 * config.width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.read = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.embedding))
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        nn.init.zeros_(self.out[1].weight)
        for table in self.weight:
            nn.init.constant_(table.weight, 0.5)

    def forward(self, events: Events, carried: Tensor | None = None) -> Tensor:
        """(B, T + 1, D): unit user embeddings before the first event, after it, ..., after the last.

        carried (B, D): `carry` of the events before these. Each row depends on earlier events only.
        """
        x = self.enter(events.covers) + sum(
            table(column) for table, column in zip(self.kinds, (events.action, events.dwell, events.gap), strict=True)
        )
        count, length, _ = x.shape
        x = torch.cat([self.start.expand(count, 1, -1), x], 1)
        mask = torch.ones(length + 1, length + 1, dtype=torch.bool, device=x.device).triu(1)
        read = self.out(self.read(x, mask=mask, is_causal=True))
        return F.normalize(self._sums(events, carried) + read, dim=-1, eps=1e-6)

    def carry(self, events: Events, carried: Tensor | None = None) -> Tensor:
        """(B, D): the decayed sum after all `events`, for when they leave the window."""
        sums = self._sums(events, carried)
        return sums[torch.arange(len(sums)), events.length]

    @torch.inference_mode()
    def encode(self, events: Events, carried: Tensor | None = None) -> Tensor:
        """(B, D) unit user embeddings after the last event; zeros for a cold user, who has no events."""
        after = self(events, carried)[torch.arange(len(events.length)), events.length]
        known = events.length > 0 if carried is None else (events.length > 0) | carried.any(-1)
        return after * known[:, None]

    @property
    @torch.inference_mode()
    def prior(self) -> Tensor:
        """(D,): the preference of users without events."""
        return F.normalize(self.out(self.read(self.start[None, None]))[0, 0], dim=-1)

    def _sums(self, events: Events, carried: Tensor | None) -> Tensor:
        """(B, T + 1, D): S(t) = decay S(t - 1) + weight(action, dwell) cover."""
        weight = self.weight[0](events.action) + self.weight[1](events.dwell)
        time = torch.arange(events.covers.shape[1] + 1, device=weight.device)
        age = time[:, None] - 1 - time[None, :-1]  # of event s after t events
        decay = torch.sigmoid(self.decay)
        kernel = torch.where(age >= 0, decay ** age.clamp(min=0), torch.zeros(()))
        sums = kernel @ (weight * events.covers)
        return sums if carried is None else sums + decay ** time[:, None] * carried[:, None]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors (half precision)."""
        save_module(Path(folder), asdict(self.config), self, torch.float16)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> UserEncoder:
        """Read a folder of `save_pretrained`. Raises CheckpointError if a file is missing or widths do not match."""
        return load_module("users", Path(folder), lambda config: cls(UserConfig(**config)))
