"""Scenes as the starter would draw them: the product set in whole, the rest through its autoencoder. Computed once, mapped from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from icg.reliability.labels import Availability
from icg.reliability.scenes.scene_bank import SceneBank
from icg.reliability.scenes.scenes import CONTRAST
from icg.reliability.scenes.staging import contrast

BATCH, GREY = 32, 127


@dataclass(frozen=True, eq=False)
class Drawn:
    """Of a bank's first N scenes. latents (N, C, h, w) float16 of each with its product over it; hints likewise, of the product on grey;
    picture (N, S, S, 3) uint8, the latents decoded and the product set in; label (N,): a product that is lost in the scene may be seen
    well here, and the other way round."""

    latents: np.ndarray
    hints: np.ndarray
    picture: np.ndarray
    label: np.ndarray

    @classmethod
    @torch.inference_mode()
    def draw(cls, folder: Path, bank: SceneBank, family: Any, count: int) -> Self:
        """`family`: of icg.models.families, whose autoencoder draws the first `count`. Read from `folder` when it is there."""
        if not (folder / "drawn-label.npy").exists():
            size, count = bank.picture.shape[1:3], min(count, len(bank))
            latent = np.float16, family.shape(size)
            how = {"latents": latent, "hints": latent, "picture": (np.uint8, (*size, 3))}
            made = {
                name: np.lib.format.open_memmap(folder / f"drawn-{name}.npy", "w+", dtype, (count, *shape))
                for name, (dtype, shape) in how.items()
            }
            label = bank.label[:count].copy()
            for first in tqdm(range(0, count, BATCH), desc="drawn", mininterval=5.0):
                rows = slice(first, min(first + BATCH, count))
                placed = bank.placed[rows]
                latents = family.encode(composed(bank.picture[rows], placed))
                made["latents"][rows] = latents.numpy()
                made["hints"][rows] = family.encode(composed(np.full_like(placed[..., :3], GREY), placed)).numpy()
                again = composed(_bytes(family.decode(latents)), placed)
                made["picture"][rows] = _bytes(again)
                for row in range(rows.start, rows.stop):
                    label[row] = relabelled(int(label[row]), made["picture"][row], bank.placed[row])
            np.save(folder / "drawn-label.npy", label)
        names = ("latents", "hints", "picture")
        maps = {name: np.load(folder / f"drawn-{name}.npy", mmap_mode="r") for name in names}
        return cls(**maps, label=np.load(folder / "drawn-label.npy"))


def _bytes(pixels: Tensor) -> np.ndarray:
    """(B, 3, S, S) in [-1, 1] -> (B, S, S, 3) uint8."""
    found: np.ndarray = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return found


def composed(pictures: np.ndarray, placed: np.ndarray) -> Tensor:
    """pictures (B, S, S, 3), placed (B, S, S, 4), uint8 -> (B, 3, S, S) in [-1, 1], the product over the picture."""
    share = torch.from_numpy(placed[..., 3:].astype(np.float32) / 255)
    under, over = (torch.from_numpy(np.asarray(v[..., :3], np.float32)) for v in (pictures, placed))
    return ((under * (1 - share) + over * share) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def relabelled(label: int, picture: np.ndarray, placed: np.ndarray) -> int:
    """The class by rule, now that the product's colours are what they are."""
    if label not in (Availability.AVAILABLE, Availability.INDISTINCTIVENESS):
        return label
    seen = contrast(Image.fromarray(picture), placed[..., 3].astype(np.float32) / 255)
    return int(Availability.INDISTINCTIVENESS if seen < CONTRAST else Availability.AVAILABLE)
