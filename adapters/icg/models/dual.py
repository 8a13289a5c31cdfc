"""Images and titles in one embedding space: a frozen image trunk and a pre-trained word table, each with a small trained head.

A small version of locked-image tuning (LiT, arXiv:2111.07991). The trunk was trained on photographs and the table on text, so titles
can match that this model was never trained on. Knows nothing about users or generation.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.checkpoints import load_module, save_module
from icg.errors import CheckpointError
from icg.models.trunk import FEATURES, LITE0, Trunk

WIDTH = 64
"""Width of every embedding."""
DROPOUT = 0.3
SIDE = 128
"""Edge in pixels of the trunk's input images."""
WORDS = "words.txt"


@dataclass(frozen=True)
class DualConfig:
    """`word`: width of a word vector. `repeats`: blocks in each stage of the trunk."""

    word: int = 96
    hidden: int = 512
    repeats: tuple[int, ...] = LITE0


class DualEncoder(nn.Module):
    """`words`: the vocabulary; other words of a title are ignored."""

    def __init__(self, words: list[str], config: DualConfig = DualConfig()) -> None:
        super().__init__()
        self.words, self.index = words, {word: n for n, word in enumerate(words)}
        self.config, hidden = config, config.hidden
        self.trunk = Trunk(config.repeats).requires_grad_(False)
        self.table = nn.Embedding(len(words), config.word)
        self.register_buffer("centre", torch.zeros(2 * FEATURES))
        self.register_buffer("spread", torch.ones(2 * FEATURES))
        self.image = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Linear(2 * FEATURES, hidden),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(hidden, WIDTH),
        )
        self.text = nn.Linear(config.word, WIDTH, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def pictures(self, features: Tensor) -> Tensor:
        """The trunk's features (B, 2560) -> (B, 64) unit rows."""
        return F.normalize(self.image((features - self.centre) / self.spread), dim=-1)

    def images(self, pixels: Tensor) -> Tensor:
        """pixels (B, 3, 128, 128) in [-1, 1] -> (B, 64) unit rows."""
        return self.pictures(self.trunk(pixels))

    def titles(self, titles: list[str]) -> Tensor:
        """(B, 64) unit rows; zeros for a title without any known word."""
        known = [[self.index[w] for w in words_of(title) if w in self.index] for title in titles]
        offsets = torch.tensor([0, *(len(k) for k in known)][:-1], dtype=torch.long).cumsum(0)
        ids = torch.tensor([n for k in known for n in k], dtype=torch.long)
        mean = F.embedding_bag(ids, self.table.weight, offsets, mode="mean")
        has_words = torch.tensor([bool(k) for k in known], device=mean.device)
        return F.normalize(self.text(mean), dim=-1) * has_words[:, None]

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config.json, words.txt and model.safetensors."""
        save_module(folder, asdict(self.config), self, dtype)
        (folder / WORDS).write_text("\n".join(self.words) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> DualEncoder:
        """Read a folder of `save_pretrained`. Raises CheckpointError if a file is missing or widths do not match."""

        def build(config: dict[str, Any]) -> DualEncoder:
            if not (folder / WORDS).is_file():
                raise CheckpointError(f"dual={str(folder)!r}: {WORDS} is missing; allowed: a folder of save_pretrained")
            words = (folder / WORDS).read_text().split()
            return cls(words, DualConfig(**config | {"repeats": tuple(config["repeats"])}))

        return load_module("dual", folder, build)


def words_of(title: str) -> list[str]:
    """Lower-case words of two or more letters."""
    return re.findall(r"[a-z]{2,}", title.lower())
