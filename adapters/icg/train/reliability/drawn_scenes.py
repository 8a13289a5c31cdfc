"""Scenes through the starter's autoencoder, with the product pasted over them, like covers. Computed once, memory-mapped."""

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
class AutoencodedScenes:
    """Of a bank's first N scenes: latents (N, C, h, w) float16 of each with its product; hints likewise, of the product on grey; picture
    (N, S, S, 3) uint8, the decoded latents with the product pasted; label (N,), as the autoencoder may change whether a product stands
    out."""

    latents: np.ndarray
    hints: np.ndarray
    picture: np.ndarray
    label: np.ndarray

    @classmethod
    @torch.inference_mode()
    def draw(cls, folder: Path, bank: SceneBank, family: Any, count: int) -> Self:
        """The first `count` scenes by the family's autoencoder, or read from `folder` if they exist."""
        if not (folder / "drawn-label.npy").exists():
            size, count = bank.picture.shape[1:3], min(count, len(bank))
            latent = np.float16, family.shape(size)
            shapes = {"latents": latent, "hints": latent, "picture": (np.uint8, (*size, 3))}
            arrays = {
                name: np.lib.format.open_memmap(folder / f"drawn-{name}.npy", "w+", dtype, (count, *shape))
                for name, (dtype, shape) in shapes.items()
            }
            label = bank.label[:count].copy()
            for first in tqdm(range(0, count, BATCH), desc="drawn", mininterval=5.0):
                rows = slice(first, min(first + BATCH, count))
                placed = bank.placed[rows]
                latents = family.encode(composed(bank.picture[rows], placed))
                arrays["latents"][rows] = latents.numpy()
                arrays["hints"][rows] = family.encode(composed(np.full_like(placed[..., :3], GREY), placed)).numpy()
                again = composed(_bytes(family.decode(latents)), placed)
                arrays["picture"][rows] = _bytes(again)
                for row in range(rows.start, rows.stop):
                    label[row] = relabelled(int(label[row]), arrays["picture"][row], bank.placed[row])
            np.save(folder / "drawn-label.npy", label)
        names = ("latents", "hints", "picture")
        maps = {name: np.load(folder / f"drawn-{name}.npy", mmap_mode="r") for name in names}
        return cls(**maps, label=np.load(folder / "drawn-label.npy"))


def _bytes(pixels: Tensor) -> np.ndarray:
    """(B, 3, S, S) in [-1, 1] -> (B, S, S, 3) uint8."""
    array: np.ndarray = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return array


def composed(pictures: np.ndarray, placed: np.ndarray) -> Tensor:
    """pictures (B, S, S, 3), placed (B, S, S, 4), uint8 -> (B, 3, S, S) in [-1, 1], the product over the picture."""
    share = torch.from_numpy(placed[..., 3:].astype(np.float32) / 255)
    under, over = (torch.from_numpy(np.asarray(v[..., :3], np.float32)) for v in (pictures, placed))
    return ((under * (1 - share) + over * share) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def relabelled(label: int, picture: np.ndarray, placed: np.ndarray) -> int:
    """The class by rule, for the new picture's colours."""
    if label not in (Availability.AVAILABLE, Availability.INDISTINCTIVENESS):
        return label
    value = contrast(Image.fromarray(picture), placed[..., 3].astype(np.float32) / 255)
    return int(Availability.INDISTINCTIVENESS if value < CONTRAST else Availability.AVAILABLE)
