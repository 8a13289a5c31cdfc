"""Samples of a connector in training: held-out covers drawn from their own readings, on the training device.

`icg.draw.pipeline` reads items with a VLM; here the readings come from a training batch. Knows no catalogue.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.draw.conditions import Conditioner
from icg.draw.sampler import Sampler, step_together, with_input_guidance
from icg.models.families import Family, to_bytes


@torch.no_grad()
def draw(
    family: Family,
    adapter: IcgAdapter,
    items: Tensor,
    users: Tensor,
    size: tuple[int, int],
    steps: int,
    guidance: float,
) -> np.ndarray:
    """items (B, M, D_vlm), users (B, U), size (width, height) -> (B, H, W, 3) uint8; row b is drawn from seed b."""
    brief = with_input_guidance(family, Brief("held out", steps=steps, guidance=guidance, size=size))
    samplers = [
        Sampler(family, replace(brief, seed=n), item, user)
        for n, (item, user) in enumerate(zip(items.split(1), users.split(1), strict=True))
    ]
    Conditioner(adapter)(samplers)
    while not samplers[0].finished:
        step_together(partial(_predict, family), samplers)
    return pictures(family.decode(torch.cat([sampler.latents for sampler in samplers])))


def _predict(
    family: Family,
    x: Tensor,
    t: Tensor,
    embeds: Tensor,
    pooled: Tensor | None,
    hint: None,
    guidance: Tensor | None,
    size: tuple[int, int],
) -> Tensor:
    return family.predict(x, t, embeds, pooled, size, guidance=guidance)


def pictures(pixels: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8."""
    return to_bytes(pixels.float()).cpu().numpy()


def grid(real: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Real covers above the samples of their readings: two of (B, H, W, 3) -> (2 H, B W, 3)."""
    return np.concatenate([np.concatenate(list(row), 1) for row in (real, samples)], 0)
