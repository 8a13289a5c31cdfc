"""Depth and saliency of a picture, by small networks of our own or by public ones. Knows no product and no class.

RFNet's cues (arXiv:2408.00418), there by DPT (arXiv:2103.13413) and U2-Net (arXiv:2005.09007).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.checkpoints import load_module, save_module
from icg.errors import CheckpointError

WIDTHS = (16, 32, 48, 64)


class SmallCues(nn.Module):
    """A U-Net (arXiv:1505.04597) of 0.2 million weights for both cues, trained on drawn scenes (`icg.train.reliability.rfnet`)."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.widths = widths
        enters = (3, *widths[:-1])
        self.down = nn.ModuleList(_block(enter, leave, 2) for enter, leave in zip(enters, widths, strict=True))
        self.up = nn.ModuleList(_block(w + n, n, 1) for w, n in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.leave = nn.Conv2d(widths[0], 2, 3, padding=1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels (B, 3, H, W) in [-1, 1], edges multiples of 16 -> depth (1 nearest) and saliency, (B, 1, H, W) in [0, 1]."""
        x, levels = pixels, []
        for layer in self.down:
            x = layer(x)
            levels.append(x)
        for layer, level in zip(self.up, levels[-2::-1], strict=True):
            x = layer(torch.cat([F.interpolate(x, scale_factor=2), level], 1))
        cues = F.interpolate(self.leave(x), scale_factor=2, mode="bilinear").sigmoid()
        return cues[:, :1], cues[:, 1:]

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors."""
        save_module(Path(folder), {"widths": self.widths}, self, dtype)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SmallCues:
        """Read a folder of `save_pretrained`. Raises CheckpointError if a file is missing, a pickle or of other widths."""

        def build(config: dict[str, Any]) -> SmallCues:
            widths = config.get("widths")
            if not isinstance(widths, list) or len(widths) < 2 or not all(type(w) is int and w > 0 for w in widths):
                raise CheckpointError(f"cues={str(folder)!r}: widths={widths!r}; allowed: two whole numbers or more")
            return cls(tuple(widths))

        return load_module("cues", Path(folder), build).requires_grad_(False)


class PublicCues(nn.Module):
    """DPT, or any depth estimator of transformers, and any saliency network.

    depth: pixel_values -> an output with predicted_depth (B, h, w), larger is nearer. saliency: pictures (B, 3, side, side) normalised
    as ImageNet's -> (B, 1, h, w) in 0..1, or a sequence that starts with it, as U2-Net's does.
    """

    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, depth: Any, saliency: Any, side: int = 384) -> None:
        super().__init__()
        self.depth, self.saliency, self.side = depth, saliency, side

    @classmethod
    def from_pretrained(cls, depth: str | Path, saliency: str | Path) -> PublicCues:
        """Load a depth estimator and a semantic segmentation whose class 0 is the background, from folders or hub ids of transformers.
        Raises CheckpointError if they are missing. U2-Net itself is published as a pickle, which is not read."""
        from transformers import AutoModelForDepthEstimation, AutoModelForSemanticSegmentation

        models = []
        for part, kind, source in (
            ("depth", AutoModelForDepthEstimation, depth),
            ("saliency", AutoModelForSemanticSegmentation, saliency),
        ):
            try:
                models.append(kind.from_pretrained(source, use_safetensors=True).eval().requires_grad_(False))
            except (OSError, ValueError, RuntimeError) as error:
                raise CheckpointError(
                    f"{part}={str(source)!r}: not readable ({error}); allowed: {part} models"
                ) from error
        return cls(models[0], _Foreground(models[1]))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Like SmallCues.forward; each picture's relative depth, which has no unit, is scaled to 0..1."""
        size = pixels.shape[2:]
        small = F.interpolate(pixels, (self.side, self.side), mode="bicubic", antialias=True)
        mean, deviation = (small.new_tensor(row)[:, None, None] for row in (self.MEAN, self.DEVIATION))
        small = (small / 2 + 0.5 - mean) / deviation
        depth = self.depth(pixel_values=small).predicted_depth[:, None]
        low, high = depth.amin((2, 3), True), depth.amax((2, 3), True)
        salient = self.saliency(small)
        salient = salient if isinstance(salient, Tensor) else salient[0]
        both = ((depth - low) / (high - low).clamp(min=1e-6), salient)
        d, s = (F.interpolate(cue, size, mode="bilinear").clamp(0, 1) for cue in both)
        return d, s


class _Foreground(nn.Module):
    def __init__(self, segmenter: Any) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, pixels: Tensor) -> Tensor:
        logits = self.segmenter(pixel_values=pixels).logits
        foreground: Tensor = logits.sigmoid() if logits.shape[1] == 1 else 1 - logits.softmax(1)[:, :1]
        return foreground


def _block(enter: int, leave: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(enter, leave, 3, stride, 1), nn.GroupNorm(8, leave), nn.SiLU())
