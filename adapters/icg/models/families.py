"""Diffusion families: the conditioning that each one takes, and how its denoiser is called. One class a family.

These classes replace the loops of the stock diffusers pipelines, so that a batch can be driven step by step. Latents are (B, C, h, w)
in every family. Knows nothing about items, users or the mathematics of schedulers.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from icg.errors import CheckpointError, IcgError

Size = tuple[int, int]
"""Width and height of a cover in pixels."""
Residuals = Mapping[str, Any]
NOT_FINITE = "latents or pixels hold NaN or infinity; allowed: a model that gives finite numbers in this precision"
EMPTY: Residuals = MappingProxyType({})


@dataclass(frozen=True)
class ConditioningSpec:
    """`width`: of prompt_embeds. `pooled`: width of pooled_prompt_embeds, 0 for a family without them."""

    width: int
    pooled: int = 0


class Family:
    """Sana (arXiv:2410.10629), and what all families share. `pipeline` is the stock diffusers pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.vae = pipeline, pipeline.vae
        config = self.vae.config
        levels = config.get("block_out_channels") or config.get("encoder_block_out_channels")
        self.factor = 2 ** (len(levels) - 1)

    @property
    def denoiser(self) -> Any:
        """The module that each step calls."""
        return self.pipeline.transformer

    @property
    def takes_guidance(self) -> bool:
        """Whether guidance is an input of the denoiser, so that one row a step draws what others need two for (arXiv:2210.03142)."""
        return False

    @property
    def device(self) -> torch.device:
        """The device of latents."""
        return torch.device(self.denoiser.device)

    def add_lora(self, rank: int, name: str = "default", everywhere: bool = False) -> None:
        """Add new low-rank weights (arXiv:2106.09685) to the denoiser's attention; only these weights take gradients.

        everywhere: also to every other linear layer and pointwise convolution in its blocks.
        """
        from peft import LoraConfig

        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        if everywhere:
            modules = [(n, m) for n, m in self.denoiser.named_modules() if "block" in n and ".lora_" not in n]
            targets = [name.removesuffix(".base_layer") for name, module in modules if _is_matrix(module)]
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
        self.denoiser.requires_grad_(False).add_adapter(config, adapter_name=name)

    def save_lora(self, folder: Path) -> None:
        """Write the folder that `load_lora` reads."""
        self.denoiser.save_lora_adapter(folder)

    def load_lora(self, source: Path | Mapping[str, Tensor], name: str | None = None) -> None:
        """Add low-rank weights to the denoiser's: those of a folder, or these tensors. `name` tells several sets apart.

        Raises CheckpointError if they are missing or do not fit.
        """
        kwargs = {"prefix": None, "use_safetensors": True, "weight_name": "pytorch_lora_weights.safetensors"}
        weights = dict(source) if isinstance(source, Mapping) else source
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several sets are intended
                # diffusers removes weights that did not fit.
                warnings.filterwarnings("ignore", ".* was active which is now deleted")
                self.denoiser.load_lora_adapter(weights, adapter_name=name, **kwargs)
        except (OSError, RuntimeError, ValueError) as error:
            text = f"{len(source)} weights" if isinstance(source, Mapping) else repr(str(source))
            raise CheckpointError(f"lora={text}: not for this denoiser ({error})") from error

    @property
    def spec(self) -> ConditioningSpec:
        """The conditioning that a connector must produce."""
        return ConditioningSpec(self.denoiser.config.caption_channels)

    @property
    def multiple(self) -> int:
        """Width and height of covers must be multiples of this many pixels."""
        return self.factor * int(self.denoiser.config.patch_size)

    def shape(self, size: Size) -> tuple[int, int, int]:
        """(C, h, w) of the latent of a cover of `size` = (width, height) pixels."""
        return int(self.denoiser.config.in_channels), size[1] // self.factor, size[0] // self.factor

    def schedule(self, steps: int, size: Size) -> Any:
        """A scheduler for one run of `steps` steps: it holds the state of that run."""
        scheduler = copy.deepcopy(self.pipeline.scheduler)
        self.set_timesteps(scheduler, steps, size)
        return scheduler

    def set_timesteps(self, scheduler: Any, steps: int, size: Size) -> None:
        """As the stock pipeline does."""
        scheduler.set_timesteps(steps)

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        embeds: Tensor,
        pooled: Tensor | None,
        size: Size,
        residuals: Residuals = EMPTY,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """x (B, C, h, w), t (B,), embeds (B, M, W), pooled (B, P) -> the denoiser's prediction (B, C, h, w).

        residuals: of a ControlNet, see icg.products.inpainting; only for families that have one. guidance (B,): of each row, only for a
        denoiser that `takes_guidance`; None: that it was distilled with.
        """
        t = t * self.denoiser.config.get("timestep_scale", 1.0)
        return self.denoiser(x, encoder_hidden_states=embeds, timestep=t, return_dict=False, **residuals)[0]

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1] -> latents at the denoiser's scale."""
        output = self.vae.encode(pixels.to(self.vae.dtype))
        tiny = getattr(output, "latents", None)  # of an AutoencoderTiny
        latent = (
            output.latent_dist.mode() if hasattr(output, "latent_dist") else output.latent if tiny is None else tiny
        )
        mean, deviation = self._statistics(pixels)
        return (latent.to(pixels) - mean) * (self.vae.config.scaling_factor / deviation)

    def decode(self, latents: Tensor) -> Tensor:
        """latents -> pixels (B, 3, H, W) in [-1, 1]."""
        mean, deviation = self._statistics(latents)
        scaled = latents * (deviation / self.vae.config.scaling_factor) + mean
        return self.vae.decode(scaled.to(self.vae.dtype), return_dict=False)[0].to(latents)

    def images(self, latents: Tensor) -> list[Image.Image]:
        """Decode each latent to an image. Raises IcgError for pixels that are not finite, which would be black."""
        pixels = self.decode(latents)
        if not finite(latents, pixels).all():
            raise IcgError(NOT_FINITE)
        return [Image.fromarray(array) for array in to_bytes(pixels).cpu().numpy()]

    def _statistics(self, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Mean and deviation of the autoencoder's latents, as far as the stock pipeline of this family uses them."""
        return 0.0, 1.0


class PixArt(Family):
    """PixArt-alpha and -sigma (arXiv:2403.04692): learned variances, of which only the mean is used, and for some the size as input."""

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        embeds: Tensor,
        pooled: Tensor | None,
        size: Size,
        residuals: Residuals = EMPTY,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """See Family.predict."""
        kwargs: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.denoiser.use_additional_conditions:
            width, height = size
            kwargs["resolution"] = embeds.new_tensor([height, width]).repeat(len(x), 1)
            kwargs["aspect_ratio"] = embeds.new_tensor([height / width]).repeat(len(x), 1)
        out = self.denoiser(x, encoder_hidden_states=embeds, timestep=t, added_cond_kwargs=kwargs, return_dict=False)[0]
        return out.chunk(2, dim=1)[0] if out.shape[1] == 2 * x.shape[1] else out


class StableDiffusion(Family):
    """Stable Diffusion 1.x and 2.x (arXiv:2112.10752), and consistency models distilled from them (arXiv:2310.04378)."""

    usual_guidance = 8.5

    @property
    def denoiser(self) -> Any:
        """The UNet."""
        return self.pipeline.unet

    @property
    def takes_guidance(self) -> bool:
        """See Family.takes_guidance."""
        return self.denoiser.config.time_cond_proj_dim is not None

    @property
    def multiple(self) -> int:
        """A UNet halves its input at all but its last level."""
        return self.factor * 2 ** (len(self.denoiser.config.block_out_channels) - 1)

    @property
    def spec(self) -> ConditioningSpec:
        """77 x 768 for 1.5, 77 x 1024 for 2.1; the number of tokens is free."""
        return ConditioningSpec(self.denoiser.config.cross_attention_dim)

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        embeds: Tensor,
        pooled: Tensor | None,
        size: Size,
        residuals: Residuals = EMPTY,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """See Family.predict."""
        kwargs = {"timestep_cond": self._guidance(x, guidance), "return_dict": False}
        return self.denoiser(x, t, encoder_hidden_states=embeds, **kwargs, **residuals)[0]

    def _guidance(self, x: Tensor, guidance: Tensor | None) -> Tensor | None:
        """timestep_cond: sines and cosines of guidance - 1, as in diffusers' get_guidance_scale_embedding."""
        width = self.denoiser.config.time_cond_proj_dim
        if width is None:
            return None
        strength = x.new_full((len(x),), self.usual_guidance) if guidance is None else guidance
        rates = torch.exp(torch.arange(width // 2, device=x.device) * -(math.log(10000.0) / (width // 2 - 1)))
        angles = (strength.float() - 1)[:, None] * 1000 * rates
        return nn.functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2)).to(x)


class StableDiffusionXL(StableDiffusion):
    """SDXL (arXiv:2307.01952): takes a pooled embedding, and the size as micro-conditioning."""

    @property
    def spec(self) -> ConditioningSpec:
        """2048 and 1280 in the full-size model."""
        config = self.denoiser.config
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        return ConditioningSpec(config.cross_attention_dim, pooled)

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        embeds: Tensor,
        pooled: Tensor | None,
        size: Size,
        residuals: Residuals = EMPTY,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """See Family.predict."""
        kwargs = {"added_cond_kwargs": self.micro_conditioning(pooled, size, len(x)), "return_dict": False}
        kwargs["timestep_cond"] = self._guidance(x, guidance)
        return self.denoiser(x, t, encoder_hidden_states=embeds, **kwargs, **residuals)[0]

    def _statistics(self, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
        mean, deviation = (self.vae.config.get(name) for name in ("latents_mean", "latents_std"))
        if mean is None or deviation is None:
            return 0.0, 1.0
        return like.new_tensor(mean).view(1, -1, 1, 1), like.new_tensor(deviation).view(1, -1, 1, 1)

    def micro_conditioning(self, pooled: Tensor | None, size: Size, count: int) -> dict[str, Any]:
        """added_cond_kwargs for `count` rows (arXiv:2307.01952, section 2.2)."""
        width, height = size
        # Filled on the device: a recorded CUDA graph cannot hold a copy from the host.
        ids = torch.zeros(count, 6, dtype=self.denoiser.dtype, device=self.denoiser.device)
        for edge, value in ((0, height), (1, width), (4, height), (5, width)):
            ids[:, edge] = value
        return {"text_embeds": pooled, "time_ids": ids}


class StableDiffusion3(Family):
    """SD3 and 3.5 (arXiv:2403.03206)."""

    def _statistics(self, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
        return float(self.vae.config.get("shift_factor") or 0.0), 1.0

    @property
    def spec(self) -> ConditioningSpec:
        """4096 and 2048 in the full-size models."""
        config = self.denoiser.config
        return ConditioningSpec(config.joint_attention_dim, config.pooled_projection_dim)

    def set_timesteps(self, scheduler: Any, steps: int, size: Size) -> None:
        """Shifted by the number of image tokens if the scheduler is configured so."""
        _, h, w = self.shape(size)
        patch = self.denoiser.config.patch_size
        mu = {"mu": _shift_of(scheduler, (h // patch) * (w // patch), 1.16)}
        scheduler.set_timesteps(steps, **(mu if scheduler.config.get("use_dynamic_shifting") else {}))

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        embeds: Tensor,
        pooled: Tensor | None,
        size: Size,
        residuals: Residuals = EMPTY,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """See Family.predict."""
        kwargs = {"encoder_hidden_states": embeds, "pooled_projections": pooled, "timestep": t}
        return self.denoiser(x, **kwargs, return_dict=False)[0]


class Flux(StableDiffusion3):
    """FLUX.1: a token is 2 x 2 latents; guidance is an input of the denoiser, unless it was distilled to few steps."""

    usual_guidance = 3.5

    @property
    def takes_guidance(self) -> bool:
        """See Family.takes_guidance."""
        return bool(self.denoiser.config.guidance_embeds)

    @property
    def multiple(self) -> int:
        """Two latents a token along each edge."""
        return 2 * self.factor

    def shape(self, size: Size) -> tuple[int, int, int]:
        """C is a quarter of the denoiser's channels."""
        return int(self.denoiser.config.in_channels) // 4, size[1] // self.factor, size[0] // self.factor

    def set_timesteps(self, scheduler: Any, steps: int, size: Size) -> None:
        """Evenly spaced sigmas, then shifted."""
        _, h, w = self.shape(size)
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(sigmas=sigmas, mu=_shift_of(scheduler, (h // 2) * (w // 2), 1.15))

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        embeds: Tensor,
        pooled: Tensor | None,
        size: Size,
        residuals: Residuals = EMPTY,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """See Family.predict."""
        count, channels, h, w = x.shape
        packed = x.view(count, channels, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        positions = torch.zeros(h // 2, w // 2, 3, dtype=x.dtype, device=x.device)
        positions[..., 1] += torch.arange(h // 2, device=x.device)[:, None]
        positions[..., 2] += torch.arange(w // 2, device=x.device)[None]
        if guidance is None and self.takes_guidance:
            guidance = x.new_full((count,), self.usual_guidance)
        out = self.denoiser(
            packed,
            encoder_hidden_states=embeds,
            pooled_projections=pooled,
            timestep=t / 1000,
            img_ids=positions.flatten(0, 1),
            txt_ids=x.new_zeros(embeds.shape[1], 3),
            guidance=guidance,
            return_dict=False,
        )[0]
        return out.view(count, h // 2, w // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


def to_bytes(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> uint8 (B, H, W, 3)."""
    return (pixels / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1)


def finite(latents: Tensor, pixels: Tensor) -> Tensor:
    """(B,) whether latents and pixels, each (B, ...), are all numbers. Pixels may not be where latents are: autoencoders overflow."""
    return latents.isfinite().flatten(1).all(1) & pixels.isfinite().flatten(1).all(1)


def cast(module: nn.Module, dtype: torch.dtype) -> None:
    """Convert all weights to `dtype`, except those that the model's authors keep in float32."""
    float32 = set(getattr(module, "_keep_in_fp32_modules", None) or ())
    for name, weight in module.named_parameters():
        if not float32.intersection(name.split(".")):
            weight.data = weight.data.to(dtype)


def _is_matrix(part: nn.Module) -> bool:
    return type(part) is nn.Linear or (type(part) is nn.Conv2d and part.kernel_size == (1, 1) and part.groups == 1)


def _shift_of(scheduler: Any, tokens: int, top: float) -> float:
    """mu, linear in the number of image tokens (arXiv:2403.03206, section 5.3.2)."""
    config = scheduler.config
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, most = config.get("base_shift", 0.5), config.get("max_shift", top)
    return float(base + (tokens - low) * (most - base) / (high - low))
