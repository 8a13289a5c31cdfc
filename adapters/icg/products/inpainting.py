"""Painting around a product: a ControlNet (arXiv:2302.05543) tells the denoiser the product's position from the first step.

Stock ControlNet classes of diffusers, with the hint of inpainting ControlNets. Afterwards `icg.compose.cover` sets the product in, so the
denoiser draws only its surroundings. Knows no judge.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.checkpoints import DIFFUSERS, read_json, weights
from icg.errors import CheckpointError
from icg.models.families import Family, StableDiffusionXL
from icg.products import compact

KINDS = {"SanaControlNetModel": "SanaTransformer2DModel", "ControlNetModel": "UNet2DConditionModel"}
"""ControlNet class -> class of its denoisers."""


class Inpainter:
    """`net`: a diffusers ControlNet for a denoiser of this family, not only for the denoiser that it was trained with.

    Raises CheckpointError if classes or widths do not fit.
    """

    def __init__(self, net: Any, family: Family) -> None:
        kind, denoiser = type(net).__name__, type(family.denoiser).__name__
        if KINDS.get(kind) != denoiser:
            raise CheckpointError(f"controlnet={kind} for a {denoiser}; allowed: {KINDS}")
        for name in ("in_channels", "cross_attention_dim", "caption_channels", "num_attention_heads"):
            actual, expected = (getattr(module.config, name, None) for module in (net, family.denoiser))
            if actual != expected:
                raise CheckpointError(f"controlnet {name}={actual}; allowed: {expected}, the denoiser's")
        self.net, self._family = net, family
        self._latent = kind == "SanaControlNetModel"

    @classmethod
    def from_pretrained(cls, folder: str | Path, family: Family) -> Inpainter:
        """Read safetensors of diffusers' save_pretrained, or of icg.products.compact for this denoiser. Raises CheckpointError if the
        folder is missing, holds a pickle or is for another denoiser."""
        name = read_json("controlnet", Path(folder) / "config.json").get("_class_name")
        if name not in KINDS:
            raise CheckpointError(f"controlnet={str(folder)!r}: a {name}; allowed: {', '.join(KINDS)}")
        if name == "SanaControlNetModel" and (Path(folder) / compact.FILE).exists():
            net = compact.load(Path(folder), family.denoiser)
            return cls(net.to(family.denoiser.device).eval().requires_grad_(False), family)
        weights("controlnet", Path(folder), DIFFUSERS)
        kind = getattr(importlib.import_module("diffusers"), str(name))
        try:
            net = kind.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"controlnet={str(folder)!r}: not readable ({error})") from error
        return cls(net.to(family.denoiser.device).eval().requires_grad_(False), family)

    def hint(self, placed: Tensor) -> Tensor:
        """placed (B, 4, H, W): colours in [-1, 1], alpha in 0..1 -> the ControlNet's condition, one row a picture.

        Sana: latents of the product on grey. Stable Diffusion: pixels in 0..1 on the product and -1 elsewhere, as published
        inpainting ControlNets are trained.
        """
        colours, alpha = placed[:, :3], placed[:, 3:]
        if self._latent:
            return self._family.encode(colours * alpha)
        return torch.where(alpha > 0.5, colours / 2 + 0.5, -torch.ones_like(colours))

    def residuals(
        self, x: Tensor, t: Tensor, embeds: Tensor, pooled: Tensor | None, hint: Tensor, size: tuple[int, int]
    ) -> dict[str, Any]:
        """The residuals for `Family.predict`. All tensors have B rows."""
        if self._latent:
            kwargs = {"encoder_hidden_states": embeds, "timestep": t, "controlnet_cond": hint}
            return {"controlnet_block_samples": self.net(x, **kwargs, return_dict=False)[0]}
        kwargs = {}
        if isinstance(self._family, StableDiffusionXL):
            kwargs = {"added_cond_kwargs": self._family.micro_conditioning(pooled, size, len(x))}
        down, mid = self.net(x, t, encoder_hidden_states=embeds, controlnet_cond=hint, return_dict=False, **kwargs)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def planes(placed: Image.Image) -> Tensor:
    """RGBA -> (1, 4, H, W) for `Inpainter.hint`: colours in [-1, 1], alpha in 0..1. RGB -> (1, 3, H, W)."""
    channels = torch.from_numpy(np.asarray(placed, np.float32).copy()).permute(2, 0, 1)[None] / 255
    return torch.cat([channels[:, :3] * 2 - 1, channels[:, 3:]], 1)
