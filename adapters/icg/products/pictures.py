"""The few pictures that a product is learned from: reads and counts them, and rejects pictures of different products. Knows no training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from icg import pictures as files
from icg.errors import IcgError
from icg.models.dual import SIDE
from icg.models.joint import JointEmbedding, pixels

FEWEST, MOST = 3, 8
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
ALIKE = 0.26
"""Least mean similarity of each picture to the others. No picture of 46 products in five pictures each was below; of sets with one picture
of another product 79 % had one, with two 95 %, of five products 99 %: docs/products.md."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """RGB pictures, the sha256 of each file, and each file's name."""

    images: list[Image.Image]
    digests: tuple[str, ...]
    names: tuple[str, ...]


def load(entries: Sequence[Path], side: int) -> Pictures:
    """Read files, or all picture files of a folder. IcgError for too few or too many, an unreadable one, or the same one twice.

    side: pixels that are enough for the shorter edge.
    """
    paths = [path for entry in entries for path in (_files(entry) if entry.is_dir() else [entry])]
    if not FEWEST <= len(paths) <= MOST:
        raise IcgError(f"pictures={len(paths)}; allowed: {FEWEST} to {MOST} pictures of one product")
    images, names = [], dict[str, str]()
    for path in paths:
        data = files.read(path)
        images.append(files.decode(data, f"picture {path.name!r}", shortest=2 * side))
        digest = hashlib.sha256(data).hexdigest()
        if digest in names:
            raise IcgError(f"picture={path.name!r} is the same file as {names[digest]!r}; allowed: different pictures")
        names[digest] = path.name
    return Pictures(images, tuple(names), tuple(path.name for path in paths))


def similarity(embedding: JointEmbedding, images: Sequence[Image.Image]) -> np.ndarray:
    """(N, N) cosines in -1..1: the mean of those by the dual encoder's trunk and by its head."""
    rows = features(embedding, images)
    return (rows @ rows.T).astype(np.float32)


@torch.inference_mode()
def features(embedding: JointEmbedding, images: Sequence[Image.Image]) -> np.ndarray:
    """(N, D) unit rows: the trunk's standardised features beside the head's embedding."""
    dual = embedding.dual
    raw = dual.trunk(pixels(images, SIDE))
    looks = F.normalize((raw - dual.centre) / dual.spread, dim=-1)
    return (torch.cat([looks, dual.pictures(raw)], 1) / 2**0.5).numpy()


def check_one_product(embedding: JointEmbedding, pictures: Pictures, force: bool = False) -> float:
    """Mean similarity of the pictures. Raises IcgError naming those that are unlike the others, unless `force`."""
    cosines, count = similarity(embedding, pictures.images), len(pictures.images)
    means = (cosines.sum(1) - np.diag(cosines)) / (count - 1)
    if means.min() < ALIKE and not force:
        strange = ", ".join(f"{pictures.names[n]} ({means[n]:.2f})" for n in np.argsort(means) if means[n] < ALIKE)
        raise IcgError(
            f"pictures show different products: similarity to the others of {strange}; allowed: {ALIKE} or more for each, "
            "or --force to train on them anyway"
        )
    return float(means.mean())


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
