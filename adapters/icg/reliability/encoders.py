"""What reads RFNet's pictures and captions: the interface, and small encoders of our own. Knows no cue and no class.

Those of full size are in icg.reliability.public, which makes any encoder by name.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BUCKETS, PAD, START = 4096, 0, 1
PIECE = re.compile(r"\d+(?:[.,]\d+)?|[\u2e80-\u9fff\uac00-\ud7af]|[^\W\d_\u2e80-\u9fff\uac00-\ud7af]+")
"""A number, a character of a script without spaces, or a word: "20cm" and "20 cm" are the same two pieces."""


class ImageEncoder(nn.Module):
    """Called with (B, 3, H, W) in [-1, 1] it gives (B, width, H / stride, W / stride)."""

    width: int
    """Channels of what comes out."""
    stride: int
    """Pixels of the picture a place of it."""

    def save_files(self, folder: Path) -> None:
        """Write what is needed besides the weights to make it again; a small one needs nothing."""


class TextEncoder(nn.Module):
    """Called with ids and mask (B, L) it gives (B, L, width); what padding becomes is of no meaning."""

    width: int
    """Of a token."""
    vocabulary: int
    """Token ids are below it."""
    longest: int
    """Tokens at most."""
    tokens: Callable[[Sequence[str], int], tuple[Tensor, Tensor]]
    """Captions, tokens at most -> ids (B, L) and which of them are the caption's (B, L), booleans. What is longer is cut."""

    def save_files(self, folder: Path) -> None:
        """As for pictures."""


class SmallImage(ImageEncoder):
    """Patches of four pixels, two halvings and a residual block, with norms that no other picture of the batch takes part in."""

    stride = 16

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.down = nn.Sequential(
            self._block(nn.Conv2d(3, 32, 4, 4)),
            self._block(nn.Conv2d(32, 64, 3, 2, 1)),
            self._block(nn.Conv2d(64, width, 3, 2, 1)),
        )
        self.more = self._block(nn.Conv2d(width, width, 3, 1, 1))

    @staticmethod
    def _block(convolution: nn.Conv2d) -> nn.Sequential:
        return nn.Sequential(convolution, nn.GroupNorm(8, convolution.out_channels), nn.SiLU())

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width, H / 16, W / 16)."""
        x = self.down(pixels)
        return x + self.more(x)


class SmallText(TextEncoder):
    """Hashed words, so that any language and any number has a vector; each sees its neighbours, as 20 its cm."""

    vocabulary = BUCKETS

    def __init__(self, longest: int, width: int = 32) -> None:
        super().__init__()
        self.longest, self.width = longest, width
        self.table = nn.Embedding(BUCKETS, width)
        self.places = nn.Parameter(torch.randn(longest, width) * 0.1)
        self.beside = nn.Conv1d(width, width, 3, padding=1)

    def tokens(self, captions: Sequence[str], most: int) -> tuple[Tensor, Tensor]:
        """A start, which keeps an empty caption from being nothing at all, then a token a piece."""
        rows = [[START, *map(bucket, pieces(caption))][:most] for caption in captions]
        ids = torch.full((len(rows), max(map(len, rows), default=1)), PAD)
        for n, row in enumerate(rows):
            ids[n, : len(row)] = torch.tensor(row)
        return ids, ids != PAD

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Padding is zero, so that it is no neighbour either."""
        x = (self.table(ids) + self.places[: ids.shape[1]]) * mask[..., None]
        return x + F.gelu(self.beside(x.mT)).mT


def pieces(caption: str) -> list[str]:
    """Lower-case words, numbers and characters of a caption, in order."""
    return PIECE.findall(unicodedata.normalize("NFKC", caption).casefold())


def bucket(piece: str) -> int:
    """Its token id: 2..BUCKETS - 1."""
    return START + 1 + zlib.crc32(piece.encode()) % (BUCKETS - START - 1)
