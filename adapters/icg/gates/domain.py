"""Which pictures a checkpoint draws well: those near the pictures it was trained on, in the features of its own image trunk.

A checkpoint states its domain in domain/, measured when it was made: for each kind of its training pictures (references, covers) the
mean, principal directions and deviations of the features, and one radius. The distance is a Mahalanobis distance in these directions and
outside of them, to the nearest kind (out-of-distribution detection, Lee et al. 2018, arXiv:1807.03888). Features are those of the trunk's
first blocks: on emoji art against photographs they separate best (docs/artwork.md); deep ones see the subject, not how it is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from icg.brief import Brief
from icg.checkpoints import SHIPPED, weights
from icg.errors import CheckpointError
from icg.models.dual import SIDE, DualEncoder
from icg.models.joint import pixels
from icg.models.trunk import Trunk, shared
from icg.pictures import over_white
from icg.rewards.base import Reward, check_pairs

PART = "domain"
BLOCKS = (0, 2)
"""Blocks of the trunk whose outputs are features."""
DIRECTIONS = 32
QUANTILE = 0.98
"""Share of the training pictures within the radius."""
FAR = 1.4
"""Radii from which on nothing of the domain is left; it falls from 1 on."""


@dataclass(frozen=True, eq=False)
class Domain:
    """Of K kinds and F features: scale (F,); mean (K, F), directions (K, D, F) orthonormal, deviations (K, D), rest (K,), the deviation
    outside of the directions; radius (1,), the distance of QUANTILE of the pictures."""

    scale: np.ndarray
    mean: np.ndarray
    directions: np.ndarray
    deviations: np.ndarray
    rest: np.ndarray
    radius: np.ndarray

    @classmethod
    def measure(cls, kinds: Sequence[np.ndarray]) -> Domain:
        """Of the features (N, F) of each kind of training pictures: one half gives the directions, the other deviations and radius."""
        scale = np.concatenate(kinds).std(0) + 1e-4
        count = min(DIRECTIONS, *(len(rows[::2]) for rows in kinds))
        parts = []
        for rows in kinds:
            first, second = rows[::2] / scale, rows[1::2] / scale
            mean = first.mean(0)
            directions = np.linalg.svd(first - mean, full_matrices=False)[2][:count]
            along, outside = _parts(second - mean, directions)
            parts.append((mean, directions, along.std(0) + 1e-6, np.sqrt((outside**2).mean()) + 1e-6))
        domain = cls(scale, *map(np.stack, zip(*parts, strict=True)), np.ones(1))
        distances = np.concatenate([domain.distances(rows[1::2]) for rows in kinds])
        return replace(domain, radius=np.quantile(distances, [QUANTILE]))

    def distances(self, features: np.ndarray) -> np.ndarray:
        """(N,) distances of features (N, F) in radii."""
        kinds = []
        for mean, directions, deviations, rest in zip(
            self.mean, self.directions, self.deviations, self.rest, strict=True
        ):
            along, outside = _parts(features / self.scale - mean, directions)
            kinds.append(np.sqrt((((along / deviations) ** 2).mean(1) + (outside / rest) ** 2) / 2))
        result: np.ndarray = np.min(kinds, axis=0) / self.radius
        return result

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(N,) in 0..1: 1 within the radius, 0 from FAR radii on."""
        result: np.ndarray = ((FAR - self.distances(features)) / (FAR - 1)).clip(0, 1)
        return result

    def save_pretrained(self, folder: Path) -> None:
        """Write domain.safetensors."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in vars(self).items()}
        save_file(arrays, folder / f"{PART}.safetensors")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Domain:
        """Read a folder of `save_pretrained`. Raises CheckpointError if it is missing or holds something else."""
        from safetensors.numpy import load_file

        shapes = weights(PART, folder, PART)
        kinds, count, width = (*shapes.get("directions", ()), 0, 0, 0)[:3]
        expected = {"scale": (width,), "mean": (kinds, width), "directions": (kinds, count, width)}
        expected |= {"deviations": (kinds, count), "rest": (kinds,), "radius": (1,)}
        if shapes != expected or not kinds:
            raise CheckpointError(f"domain={str(folder)!r}: tensors {shapes}; allowed: those of Domain.save_pretrained")
        return cls(**load_file(folder / f"{PART}.safetensors"))


def domain(checkpoint: str | Path, pictures: Sequence[Image.Image]) -> np.ndarray:
    """(N,) in 0..1: how far inside the domain of a checkpoint folder these pictures are. 0 for a checkpoint that states no domain."""
    if not (Path(checkpoint) / PART).is_dir() or not pictures:
        return np.zeros(len(pictures))
    stated, trunk = _load(str(checkpoint))
    return stated(features(trunk, pictures))


class DomainReward:
    """`domain` of a picture as a number among its rewards, so that an item outside is known before anything is drawn of it."""

    name = "gate_domain"
    range = (0.0, 1.0)
    side = SIDE

    def __init__(self, checkpoint: str | Path, trunk: Trunk | None = None) -> None:
        """trunk: one that is loaded already; it is used if it has the weights of the checkpoint's."""
        self._domain, own = _load(str(checkpoint))
        self._trunk = own if trunk is None else shared(own, trunk)

    @classmethod
    def of(cls, checkpoint: str | Path, trunk: Trunk | None = None) -> dict[str, Reward]:
        """By name; empty for a checkpoint that states no domain."""
        return {cls.name: cls(checkpoint, trunk)} if (Path(checkpoint) / PART).is_dir() else {}

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32. Of the briefs only their number is checked."""
        check_pairs(images, briefs)
        return self._domain(features(self._trunk, images)).astype(np.float32) if images else np.zeros(0, np.float32)


def trunk_of(checkpoint: Path) -> Trunk:
    """The image trunk of a checkpoint folder: that of its dual/, else the starter's."""
    return DualEncoder.from_pretrained(
        checkpoint / "dual" if (checkpoint / "dual").is_dir() else SHIPPED / "dual"
    ).trunk


@torch.inference_mode()
def features(trunk: Trunk, pictures: Sequence[Image.Image]) -> np.ndarray:
    """(N, F): mean and deviation over positions of each channel of BLOCKS, of pictures of any size and aspect."""
    rows = []
    for n in range(0, len(pictures), 64):
        maps = trunk.outputs(pixels([over_white(picture) for picture in pictures[n : n + 64]], SIDE), BLOCKS[-1])
        parts = [part for block in BLOCKS for part in (maps[block].mean((2, 3)), maps[block].std((2, 3)))]
        rows.append(torch.cat(parts, 1))
    return torch.cat(rows).numpy()


def _parts(offsets: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (N, D) of offsets (N, F) along the directions, and lengths (N,) of what is outside of them."""
    along = offsets @ directions.T
    return along, np.sqrt(np.maximum((offsets**2).sum(1) - (along**2).sum(1), 0))


@lru_cache(2)
def _load(checkpoint: str) -> tuple[Domain, Trunk]:
    return Domain.from_pretrained(Path(checkpoint) / PART), trunk_of(Path(checkpoint))
