"""The few pictures that a product is learned from: read, counted, and told apart from pictures of different products. Knows no training."""

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
from icg.models.joint import JointEmbedding

FEWEST, MOST = 3, 8
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
ALIKE = 0.26
"""Each picture must be at least so similar to the others, on average. Of 46 products drawn in five pictures each, none was below; of sets
with one picture of another product 79 % were, with two 95 %, of five products 99 %: docs/products.md."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """RGB pictures, the sha256 of each file, and by what name each is known."""

    images: list[Image.Image]
    digests: tuple[str, ...]
    names: tuple[str, ...]


def load(given: Sequence[Path], side: int) -> Pictures:
    """Files, or a folder's picture files. IcgError for too few or too many, for one that cannot be read, and for the same one twice.

    side: pixels that are enough for the shorter edge.
    """
    paths = [path for entry in given for path in (_in(entry) if entry.is_dir() else [entry])]
    if not FEWEST <= len(paths) <= MOST:
        raise IcgError(f"pictures={len(paths)}; allowed: {FEWEST} to {MOST} pictures of one product")
    images, seen = [], dict[str, str]()
    for path in paths:
        data = files.read(path)
        images.append(files.decode(data, f"picture {path.name!r}", shortest=2 * side))
        digest = hashlib.sha256(data).hexdigest()
        if digest in seen:
            raise IcgError(f"picture={path.name!r} is the same file as {seen[digest]!r}; allowed: different pictures")
        seen[digest] = path.name
    return Pictures(images, tuple(seen), tuple(path.name for path in paths))


def similarity(embedding: JointEmbedding, images: Sequence[Image.Image]) -> np.ndarray:
    """(N, N) cosines, in -1..1: the mean of what the dual encoder's trunk sees and of what its head says."""
    rows = features(embedding, images)
    return (rows @ rows.T).astype(np.float32)


@torch.inference_mode()
def features(embedding: JointEmbedding, images: Sequence[Image.Image]) -> np.ndarray:
    """(N, D) unit rows: the trunk's standardised features beside the head's embedding."""
    dual = embedding.dual
    small = [np.asarray(i.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for i in images]
    seen = dual.trunk(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1)
    looks = F.normalize((seen - dual.centre) / dual.spread, dim=-1)
    return (torch.cat([looks, dual.pictures(seen)], 1) / 2**0.5).numpy()


def check_one_product(embedding: JointEmbedding, pictures: Pictures, force: bool = False) -> float:
    """Mean similarity of the pictures. IcgError, unless `force`, names those that are unlike the others."""
    found, count = similarity(embedding, pictures.images), len(pictures.images)
    each = (found.sum(1) - np.diag(found)) / (count - 1)
    if each.min() < ALIKE and not force:
        strange = ", ".join(f"{pictures.names[n]} ({each[n]:.2f})" for n in np.argsort(each) if each[n] < ALIKE)
        raise IcgError(
            f"pictures show different products: similarity to the others of {strange}; allowed: {ALIKE} or more for each, "
            "or to train on them all the same (--force)"
        )
    return float(each.mean())


def _in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
