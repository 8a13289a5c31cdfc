"""Painting around a product: a ControlNet (arXiv:2302.05543) shows the denoiser where it stands from the first step on.

Stock ControlNet classes of diffusers, with the hint that inpainting ControlNets take. The product itself is set in pixel for pixel
afterwards (icg.draw.pipeline), so only what is around it is the denoiser's. Knows no judge.
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
from icg.errors import BriefError, CheckpointError
from icg.models.families import Family, StableDiffusionXL
from icg.products import compact

KINDS = {"SanaControlNetModel": "SanaTransformer2DModel", "ControlNetModel": "UNet2DConditionModel"}
"""ControlNet class -> class of the denoisers it is for."""
HEIGHTS, MIDDLES, FEET = (0.3, 0.46), (0.35, 0.65), (0.72, 0.92)
"""Where products stand, in shares of the cover: height, middle from the left, foot from the top."""
WIDEST = 0.7


class Inpainter:
    """`net`: a ControlNet of diffusers for this family's denoiser, any of the family: it need not be the one it was trained beside.

    CheckpointError where classes or widths do not fit.
    """

    def __init__(self, net: Any, family: Family) -> None:
        kind, denoiser = type(net).__name__, type(family.denoiser).__name__
        if KINDS.get(kind) != denoiser:
            raise CheckpointError(f"controlnet={kind} for a {denoiser}; allowed: {KINDS}")
        for name in ("in_channels", "cross_attention_dim", "caption_channels", "num_attention_heads"):
            had, wanted = (getattr(part.config, name, None) for part in (net, family.denoiser))
            if had != wanted:
                raise CheckpointError(f"controlnet {name}={had}; allowed: {wanted}, the denoiser's")
        self.net, self._family = net, family
        self._latent = kind == "SanaControlNetModel"

    @classmethod
    def from_pretrained(cls, folder: str | Path, family: Family) -> Inpainter:
        """What diffusers' save_pretrained wrote, as safetensors, or icg.products.compact for this denoiser; CheckpointError when it is
        not there, a pickle or for others."""
        stated = read_json("controlnet", Path(folder) / "config.json").get("_class_name")
        if stated not in KINDS:
            raise CheckpointError(f"controlnet={str(folder)!r}: a {stated}; allowed: {', '.join(KINDS)}")
        if stated == "SanaControlNetModel" and (Path(folder) / compact.FILE).exists():
            small = compact.load(Path(folder), family.denoiser)
            return cls(small.to(family.denoiser.device).eval().requires_grad_(False), family)
        weights("controlnet", Path(folder), DIFFUSERS)
        kind = getattr(importlib.import_module("diffusers"), str(stated))
        try:
            net = kind.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"controlnet={str(folder)!r}: not readable ({error})") from error
        return cls(net.to(family.denoiser.device).eval().requires_grad_(False), family)

    def hint(self, placed: Tensor) -> Tensor:
        """placed (B, 4, H, W): colours in [-1, 1], alpha in 0..1 -> what `residuals` takes, a row a picture.

        Latents of the product on grey for Sana; for Stable Diffusion pixels in 0..1 where the product is and -1 elsewhere, as
        published inpainting ControlNets are trained.
        """
        colours, alpha = placed[:, :3], placed[:, 3:]
        if self._latent:
            return self._family.encode(colours * alpha)
        return torch.where(alpha > 0.5, colours / 2 + 0.5, -torch.ones_like(colours))

    def residuals(
        self, x: Tensor, t: Tensor, embeds: Tensor, pooled: Tensor | None, hint: Tensor, size: tuple[int, int]
    ) -> dict[str, Any]:
        """What to add inside the denoiser, as `Family.predict` takes it. All tensors with B rows."""
        if self._latent:
            given = {"encoder_hidden_states": embeds, "timestep": t, "controlnet_cond": hint}
            return {"controlnet_block_samples": self.net(x, **given, return_dict=False)[0]}
        more = {}
        if isinstance(self._family, StableDiffusionXL):
            more = {"added_cond_kwargs": self._family.added(pooled, size, len(x))}
        down, mid = self.net(x, t, encoder_hidden_states=embeds, controlnet_cond=hint, return_dict=False, **more)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def stand(product: Image.Image, seed: int, size: tuple[int, int]) -> Image.Image:
    """RGBA of the cover's `size`: the cut-out where this seed has it stand, upright, whole, on the lower half.

    A cut-out larger than the canvas is made smaller; several things in one are one product. BriefError for an empty one.
    """
    box = product.getchannel("A").getbbox()
    if box is None:
        raise BriefError("product is fully transparent; allowed: a cut-out with something on it")
    alone = product.crop(box)
    rng = np.random.default_rng(seed)
    height, middle, foot = (float(rng.uniform(*span)) for span in (HEIGHTS, MIDDLES, FEET))
    edge = min(height * size[1], WIDEST * size[0] * alone.height / alone.width)
    scaled = (max(1, round(edge * alone.width / alone.height)), max(1, round(edge)))
    left = min(max(round(middle * size[0] - scaled[0] / 2), 0), size[0] - scaled[0])
    out = Image.new("RGBA", size)
    out.paste(alone.resize(scaled, Image.Resampling.LANCZOS), (left, round(foot * size[1]) - scaled[1]))
    return out


def planes(placed: Image.Image) -> Tensor:
    """RGBA -> (1, 4, H, W) as `Inpainter.hint` takes it: colours in [-1, 1], alpha in 0..1. Of RGB the colours alone."""
    found = torch.from_numpy(np.asarray(placed, np.float32).copy()).permute(2, 0, 1)[None] / 255
    return torch.cat([found[:, :3] * 2 - 1, found[:, 3:]], 1)
