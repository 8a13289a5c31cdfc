"""The sequence encoder: what a user did, in order -> scores of all items, known or new. Knows no service and no training.

An item's vector is the sum of a learned one (collaborative; zero for an item nobody engaged with) and of its content: words of title and
category, and its cover's embedding through a linear map. The map is linear so that a user's state is also a preference in cover space.
A causal transformer reads the latest events (SASRec, arXiv:1808.09781, with a bias by distance in place of positions).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.checkpoints import load_module, save_module
from icg.data.behaviour import ACTIONS
from icg.users.histories import GAP_S

WORDS = 4_096
"""Hash buckets of words; the first one is for items without any."""


@dataclass(frozen=True)
class SequenceConfig:
    """`items` numbered from 0; `cover`: width of cover embeddings, 0 without. `window`: events that are read. content: False leaves items'
    words and covers out."""

    items: int
    cover: int = 64
    width: int = 64
    layers: int = 2
    heads: int = 2
    window: int = 100
    dropout: float = 0.2
    content: bool = True


@dataclass(frozen=True, eq=False)
class Content:
    """Of N items: words (W,) bucket numbers, those of item n from offsets[n] (N,); covers (N, C) float32, zeros without a picture."""

    words: np.ndarray
    offsets: np.ndarray
    covers: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str], covers: np.ndarray) -> Content:
        """texts: titles with categories, in any language."""
        bags = [
            sorted({1 + zlib.crc32(w.encode()) % (WORDS - 1) for w in re.findall(r"\w+", t.lower())}) or [0]
            for t in texts
        ]
        offsets = np.cumsum([0, *(len(bag) for bag in bags)])[:-1]
        return cls(np.concatenate([np.zeros(0), *bags]).astype(np.int64), offsets.astype(np.int64), covers)


@dataclass(frozen=True)
class Window:
    """B users' latest events, oldest first, padded at the end to T: item (B, T), action (B, T), gap (B, T) buckets of the time since the
    event before, length (B,) >= 0."""

    item: Tensor
    action: Tensor
    gap: Tensor
    length: Tensor

    @classmethod
    def of(cls, item: np.ndarray, action: np.ndarray, time: np.ndarray, length: np.ndarray) -> Window:
        """From columns (B, T), times in seconds."""
        gap = np.searchsorted(GAP_S, np.diff(time, axis=1, prepend=time[:, :1]))
        return cls(*(torch.as_tensor(np.asarray(c, np.int64)) for c in (item, action, gap, length)))


class SequenceEncoder(nn.Module):
    """States after each prefix of a user's events, and the items' vectors that they are compared with."""

    warm: Tensor

    def __init__(self, config: SequenceConfig, content: Content | None = None) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.free = nn.Embedding(config.items, width)
        self.bias = nn.Parameter(torch.zeros(config.items))
        self.action, self.gap = nn.Embedding(ACTIONS, width), nn.Embedding(len(GAP_S) + 1, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(config.dropout)
        self.register_buffer("warm", torch.ones(config.items))
        for table in (self.free, self.action, self.gap):
            nn.init.normal_(table.weight, std=width**-0.5 / 4)
        if config.content:
            self.words = nn.EmbeddingBag(WORDS, width, mode="mean")
            self.looks = nn.Linear(max(config.cover, 1), width, bias=False)
            nn.init.normal_(self.words.weight, std=width**-0.5 / 4)
            nn.init.zeros_(self.looks.weight)
            self.hold(content or Content.of([""] * config.items, np.zeros((config.items, config.cover), np.float32)))

    def hold(self, content: Content) -> None:
        """Use the content of these items; it is not saved with the weights."""
        self._words, self._offsets = torch.as_tensor(content.words), torch.as_tensor(content.offsets)
        covers = content.covers if content.covers.shape[1] else np.zeros((self.config.items, 1), np.float32)
        self._covers = torch.as_tensor(covers, dtype=torch.float32)

    def items(self, keep: Tensor | None = None) -> Tensor:
        """(N, D) vectors. keep (N,): 0 where the learned part is left out, so that content learns to do without it."""
        own = self.free.weight * (self.warm if keep is None else self.warm * keep)[:, None]
        if not self.config.content:
            return own
        return own + self.words(self._words, self._offsets) + self.looks(self._covers)

    def forward(self, window: Window, items: Tensor) -> Tensor:
        """(B, T + 1, D) states after 0..T events; items (N, D)."""
        x = items[window.item] + self.action(window.action) + self.gap(window.gap)
        x = self.drop(torch.cat([self.start.expand(len(x), 1, -1), x], 1))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def scores(self, states: Tensor, items: Tensor) -> Tensor:
        """states (..., D) -> (..., N)."""
        return states @ items.T + self.bias * self.warm

    @torch.inference_mode()
    def rank(self, window: Window) -> np.ndarray:
        """(B, N) scores after the last event; users without events get what is right for a new user."""
        items = self.items()
        states = self(window, items)
        last: np.ndarray = self.scores(states[torch.arange(len(states)), window.length], items).numpy()
        return last

    @torch.inference_mode()
    def preference(self, window: Window) -> np.ndarray:
        """(B, C) unit user embeddings in cover space: which cover of an item suits the user. Raises AttributeError without content."""
        states = self(window, self.items())
        rows = states[torch.arange(len(states)), window.length] @ self.looks.weight
        unit: np.ndarray = F.normalize(rows, dim=-1, eps=1e-6).numpy()
        return unit

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors (half precision)."""
        save_module(Path(folder), asdict(self.config), self, torch.float16)

    @classmethod
    def from_pretrained(cls, folder: str | Path, content: Content | None = None) -> SequenceEncoder:
        """Read a folder of `save_pretrained`. Raises CheckpointError if a file is missing or widths do not match."""
        return load_module("sequence", Path(folder), lambda config: cls(SequenceConfig(**config), content))


class Block(nn.Module):
    """Attention to earlier events with a learned bias by distance, then a gated layer."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gate, self.up, self.down = (
            nn.Linear(width, 2 * width),
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
        )
        self.distance = nn.Parameter(torch.zeros(config.heads, config.window + 1))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), T at most window + 1."""
        count, length, width = x.shape
        q, k, v = self.qkv(self.first(x)).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        place = torch.arange(length)
        age = place[:, None] - place
        bias = self.distance[:, age.clamp(min=0)].masked_fill(age < 0, -torch.inf)
        rate = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].to(q.dtype), dropout_p=rate)
        x = x + self.drop(self.out(read.transpose(1, 2).reshape(count, length, width)))
        y = self.second(x)
        return x + self.drop(self.down(F.silu(self.gate(y)) * self.up(y)))
