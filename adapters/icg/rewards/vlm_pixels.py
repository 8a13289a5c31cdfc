"""Pictures as a VLM reads them, differentiably: resized whole, normalised, and laid out as the family's image processor does it.

Three layouts cover the families: one square (LLaVA), squares of the whole picture (LLaVA-OneVision, SmolVLM, Idefics3), and rows of patches
(Qwen2.5-VL, Qwen3-VL). The layout is checked against the processor itself. Knows no model.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg.errors import CheckpointError

TOLERANCE = 0.15
"""Mean difference, in deviations of the normalised values, from the processor's own: some resize a picture up and down again."""


def whole(processor: Any) -> Any:
    """A copy of a VLM's processor that reads each picture whole instead of in tiles; one that knows no tiles stays as it is."""
    pictures = copy.copy(processor.image_processor)
    if hasattr(pictures, "do_image_splitting"):
        pictures.do_image_splitting = False
    other = copy.copy(processor)
    other.image_processor = pictures
    return other


class VlmPixels:
    """(B, 3, H, W) in [-1, 1] -> `pixel_values` of B pictures. size: (height, width) at which the VLM reads a square picture.

    Raises CheckpointError for a processor with another layout.
    """

    def __init__(self, processor: Any, side: int) -> None:
        self._processor = processor.image_processor
        self.size = self._native(self._values(Image.new("RGB", (side, side))))
        expected = self._values(_probe(self.size))
        self._copies = expected["pixel_values"].shape[1] if expected["pixel_values"].ndim == 5 else 1
        pixels = torch.from_numpy(np.array(_probe(self.size))).permute(2, 0, 1)[None].float() / 127.5 - 1
        result, values = self(pixels), expected["pixel_values"]
        if result.shape != values.shape or float((result - values).abs().mean()) > TOLERANCE:
            raise CheckpointError(
                f"vlm reads pictures as {tuple(values.shape)} in an order of its own; allowed: one square, squares of the whole "
                "picture, or rows of patches, as LLaVA, LLaVA-OneVision, SmolVLM, Idefics3, Qwen2.5-VL and Qwen3-VL do"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Differentiable in the images; on their device."""
        mean, deviation = (
            torch.tensor(values, device=images.device).view(3, 1, 1)
            for values in (self._processor.image_mean, self._processor.image_std)
        )
        sized = images
        if images.shape[2:] != self.size:
            sized = F.interpolate(images, self.size, mode="bicubic", antialias=True).clamp(-1, 1)
        x = (sized / 2 + 0.5 - mean) / deviation
        if self._layout == "patches":
            return self._patches(x)
        return x[:, None].expand(-1, self._copies, -1, -1, -1) if self._layout == "squares" else x

    def _values(self, picture: Image.Image) -> dict[str, Tensor]:
        return dict(self._processor([picture], return_tensors="pt"))

    def _native(self, values: dict[str, Tensor]) -> tuple[int, int]:
        pixels = values["pixel_values"]
        if pixels.ndim == 2 and "image_grid_thw" in values:
            self._layout = "patches"
            _, rows, columns = values["image_grid_thw"][0].tolist()
            return rows * self._processor.patch_size, columns * self._processor.patch_size
        self._layout = "squares" if pixels.ndim == 5 else "one"
        return int(pixels.shape[-2]), int(pixels.shape[-1])

    def _patches(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B x patches, 3 x frames x p x p): blocks of m x m patches, row by row; a picture is repeated as frames."""
        p, m, frames = self._processor.patch_size, self._processor.merge_size, self._processor.temporal_patch_size
        batch, channels, height, width = x.shape
        blocks = x.reshape(batch, channels, height // (p * m), m, p, width // (p * m), m, p)
        blocks = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7)  # picture, block row, block column, row, column, channel, y, x
        repeated = blocks.unsqueeze(6).expand(*blocks.shape[:6], frames, p, p)
        return repeated.reshape(batch * (height // p) * (width // p), -1)


def _probe(size: tuple[int, int]) -> Image.Image:
    """A smooth picture without any symmetry."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / max(size)
    planes = [x**2 + 0.3 * y, y**2 * 0.8 + 0.1 * x, 0.5 * x * y + 0.4 * (1 - x)]
    return Image.fromarray((np.stack(planes, -1) / 1.4 * 255).clip(0, 255).astype(np.uint8))
