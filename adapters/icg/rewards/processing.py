"""The steps of a transformers image processor, on pictures and, differentiably, on tensors. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

MAX_RATIO = 4
"""Pictures with a larger ratio of their edges are cut to it before resizing, which the processor's crop would do anyway."""


FILTERS = {
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
    Image.Resampling.LANCZOS: "lanczos",
}


class Processing:
    """A transformers image processor that resizes, optionally crops the middle, and normalises."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.crops = bool(getattr(processor, "do_center_crop", False))
        size = dict(processor.size)
        self.edge = int(size.get("shortest_edge") or size["height"])
        self.crop = int(dict(processor.crop_size)["height"]) if self.crops else self.edge
        self.filter = FILTERS.get(processor.resample, "bicubic")
        normal = bool(processor.do_normalize)
        self.mean = list(processor.image_mean) if normal else [0.0] * 3
        self.deviation = list(processor.image_std) if normal else [1.0] * 3

    def pictures(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any sizes and modes -> (B, 3, h, w), by the processor itself."""
        rgb = [self._bounded(i.convert("RGB")) for i in images]
        return self.processor(images=rgb, return_tensors="pt", input_data_format="channels_last")["pixel_values"]

    def pixels(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 3, h, w), the same steps with gradients."""
        x = (images.float() + 1) / 2
        height, width = x.shape[2:]
        if self.crops:
            scale = self.edge / min(height, width)
            x = self._interpolated(x, (int(height * scale + 1e-6), int(width * scale + 1e-6)))
            top, left = (x.shape[2] - self.crop) // 2, (x.shape[3] - self.crop) // 2
            x = x[:, :, top : top + self.crop, left : left + self.crop]
        else:
            x = self._interpolated(x, (self.edge, self.edge))
        mean, deviation = (torch.tensor(v, device=x.device)[:, None, None] for v in (self.mean, self.deviation))
        return (x - mean) / deviation

    def _bounded(self, image: Image.Image) -> Image.Image:
        """Else a picture of 1 x 4,096 would be resized to 224 x 917,504 before its middle is cropped."""
        width, height = image.size
        if not self.crops or max(image.size) <= MAX_RATIO * min(image.size):
            return image
        w, h = min(width, MAX_RATIO * height), min(height, MAX_RATIO * width)
        left, top = (width - w) // 2, (height - h) // 2
        return image.crop((left, top, left + w, top + h))

    def _interpolated(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return x if x.shape[2:] == size else F.interpolate(x, size, mode=self.filter, antialias=True).clamp(0, 1)
