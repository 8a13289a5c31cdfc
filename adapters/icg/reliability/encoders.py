"""Encoders of RFNet's pictures and captions: the interface, and small encoders of our own. Knows no cue and no class.

Full-size encoders, and all encoders by name, are in icg.reliability.public.
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
"""A number, a character of a script without spaces, or a word: "20cm" and "20 cm" give the same two pieces."""


class ImageEncoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, width, H / stride, W / stride)."""

    width: int
    """Channels of the output."""
    stride: int
    """Pixels of the picture per position of the output, along each edge."""

    def save_files(self, folder: Path) -> None:
        """Write what is needed besides the weights to build the encoder again; nothing for a small one."""


class TextEncoder(nn.Module):
    """Ids and mask (B, L) -> (B, L, width); the output at padding has no meaning."""

    width: int
    """Width of a token's vector."""
    vocabulary: int
    """Number of token ids."""
    longest: int
    """Most tokens of a caption."""
    tokens: Callable[[Sequence[str], int], tuple[Tensor, Tensor]]
    """(captions, most tokens) -> ids (B, L) and the mask (B, L) of the captions' tokens. Longer captions are cut."""

    def save_files(self, folder: Path) -> None:
        """See ImageEncoder.save_files."""


class SmallImage(ImageEncoder):
    """Patches of four pixels, two halvings and a residual block, with norms that do not depend on the batch."""

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
    """Hashed words, so that any language and any number has a vector; a convolution joins neighbours, such as 20 and cm."""

    vocabulary = BUCKETS

    def __init__(self, longest: int, width: int = 32) -> None:
        super().__init__()
        self.longest, self.width = longest, width
        self.table = nn.Embedding(BUCKETS, width)
        self.places = nn.Parameter(torch.randn(longest, width) * 0.1)
        self.beside = nn.Conv1d(width, width, 3, padding=1)

    def tokens(self, captions: Sequence[str], most: int) -> tuple[Tensor, Tensor]:
        """A start token, so that an empty caption has one token, then one token a piece."""
        rows = [[START, *map(bucket, pieces(caption))][:most] for caption in captions]
        ids = torch.full((len(rows), max(map(len, rows), default=1)), PAD)
        for n, row in enumerate(rows):
            ids[n, : len(row)] = torch.tensor(row)
        return ids, ids != PAD

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Padding is zeroed, so that it does not change its neighbours."""
        x = (self.table(ids) + self.places[: ids.shape[1]]) * mask[..., None]
        return x + F.gelu(self.beside(x.mT)).mT


def pieces(caption: str) -> list[str]:
    """Lower-case words, numbers and characters of a caption, in order."""
    return PIECE.findall(unicodedata.normalize("NFKC", caption).casefold())


def bucket(piece: str) -> int:
    """The token id of a piece: 2..BUCKETS - 1."""
    return START + 1 + zlib.crc32(piece.encode()) % (BUCKETS - START - 1)
