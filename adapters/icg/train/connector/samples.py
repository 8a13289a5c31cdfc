"""Looks at a connector in training: held-out covers drawn from their own readings, on whatever device it is trained on.

`icg.draw.pipeline` draws briefs for services on the CPU; here conditions come from a training batch. Knows no catalogue.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icg.adapter.model import IcgAdapter
from icg.models.families import Family


@torch.no_grad()
def draw(
    family: Family, adapter: IcgAdapter, scheduler: Any, items: Tensor, users: Tensor, size: tuple[int, int],
    steps: int, guidance: float,
) -> np.ndarray:  # fmt: skip
    """items (B, M, D_vlm), users (B, U), size (width, height) -> (B, H, W, 3) uint8; row b is drawn from seed b."""
    device, count = items.device, len(items)
    asked, nothing = adapter(items, users), adapter.unconditional(count)
    embeds = torch.cat([nothing[0], asked[0]])
    pooled = None if nothing[1] is None or asked[1] is None else torch.cat([nothing[1], asked[1]])
    shape = (1, *family.shape(size))
    noise = [torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in range(count)]
    scheduler = copy.deepcopy(scheduler)  # it keeps the state of one run
    family.set_timesteps(scheduler, steps, size)
    x = torch.cat(noise).to(device) * float(getattr(scheduler, "init_noise_sigma", 1.0))
    scale = getattr(scheduler, "scale_model_input", lambda x, _: x)
    for t in scheduler.timesteps:
        twice = scale(x, t).repeat(2, 1, 1, 1)
        without, with_item = (
            family.predict(twice, t.to(device).expand(2 * count), embeds, pooled, size).float().chunk(2)
        )
        x = scheduler.step(without + guidance * (with_item - without), t, x, return_dict=False)[0]
    return pictures(family.decode(x))


def pictures(pixels: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8."""
    return (pixels.float() / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def grid(real: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Real covers above those drawn in their place: two of (B, H, W, 3) -> (2 H, B W, 3)."""
    return np.concatenate([np.concatenate(list(row), 1) for row in (real, drawn)], 0)
