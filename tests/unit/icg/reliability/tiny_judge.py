"""A judge of tiny widths and random weights, and cut-outs for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from icg.reliability.config import VARIANTS
from icg.reliability.cues import SmallCues
from icg.reliability.judge import Judge
from icg.reliability.rfnet import RFNet
from PIL import Image, ImageDraw

SIDE = 32
TINY = replace(VARIANTS["small"], width=16, heads=2, fusions=1, side=SIDE, words=8)


def judge(threshold: float = 0.5, temperature: float = 1.0, **more: Any) -> Judge:
    """The same judge each time. `more`: fields of its RFNet's config."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = RFNet.build(replace(TINY, **more))
        net.leave.weight.data *= 8  # so that logits differ by more than rounding
        model = Judge(net, SmallCues((8, 16)), threshold, temperature)
    return model.eval().requires_grad_(False)


def cut_out(size: tuple[int, int] = (40, 60), colour: str = "red") -> Image.Image:
    """An ellipse on a transparent canvas."""
    image = Image.new("RGBA", size)
    inner = (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4)
    ImageDraw.Draw(image).ellipse(inner, fill=colour)
    return image


def picture(seed: int, side: int = SIDE) -> Image.Image:
    """Smooth colours, so that scaling it down loses little."""
    rough = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)
