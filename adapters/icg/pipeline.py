"""Briefs to covers: frozen VLM -> meta tokens -> refiner -> connector -> any stock diffusers pipeline's own parts.

`__call__` is start, step until done, finish; a service may drive the steps itself. Each brief's result depends on that
brief alone (noise from its own seeded CPU generator), whatever shares its batch. Knows nothing about services.
"""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg import vlm as reading
from icg.adapter import IcgAdapter
from icg.anchor import collage
from icg.brief import Brief
from icg.connector import spec_of
from icg.errors import BriefError, Cancelled, CheckpointError


@dataclass(eq=False)
class Batch:
    """Covers in the making. `done` of `total` steps are taken; latents are (B, C, h, w)."""

    briefs: list[Brief]
    scheduler: Any
    latents: Tensor
    starts: list[int]
    conditions: Tensor
    weights: Tensor
    done: int = 0

    @property
    def total(self) -> int:
        """Denoising steps in all."""
        return len(self.scheduler.timesteps)


class CoverPipeline:
    """See the module. `diffusion` has transformer, vae and scheduler; `cache` bounds the LRU."""

    def __init__(self, vlm: Any, processor: Any, diffusion: Any, adapter: IcgAdapter, cache: int = 256) -> None:
        adapter.check(vlm, spec_of(diffusion.transformer).width)
        self.vlm, self.processor, self.diffusion, self.adapter = vlm, processor, diffusion, adapter.eval()
        self.cache_size, self._cache = cache, OrderedDict[str, Tensor]()
        self.reads = 0
        """How many times the VLM has run: cache misses."""

    @classmethod
    def from_pretrained(cls, root: str | Path, cache: int = 256) -> CoverPipeline:
        """`root` holds vlm/, diffusion/ and adapter/; CheckpointError when they do not fit together."""
        root = Path(root)
        adapter = IcgAdapter.from_pretrained(root / "adapter")
        vlm, processor = reading.load(root / "vlm")
        diffusion = _load_diffusion(root / "diffusion")
        for part in (diffusion.transformer, diffusion.vae):
            part.eval().requires_grad_(False)
        return cls(vlm, processor, diffusion, adapter, cache)

    def __call__(self, briefs: list[Brief], on_step: Callable[[int, int], bool] | None = None) -> list[Image.Image]:
        """One cover per brief. `on_step(step, total)` runs after each step; returning False raises Cancelled."""
        if not briefs:
            return []
        batch = self.start(briefs)
        more = True
        while more:
            more = self.step(batch)
            if on_step is not None and on_step(batch.done, batch.total) is False:
                raise Cancelled(f"on_step returned False after step {batch.done} of {batch.total}")
        return self.finish(batch)

    @torch.inference_mode()
    def start(self, briefs: list[Brief]) -> Batch:
        """Read the briefs and draw their noise. All must agree on steps and size."""
        for name in ("steps", "size"):
            values = sorted({getattr(b, name) for b in briefs})
            if len(values) != 1:
                raise BriefError(f"{name}={values} in one call; allowed: one value for all briefs")
        conditions, weights = self._conditions(briefs)
        noise = torch.cat([self._noise(b) for b in briefs])
        scheduler = type(self.diffusion.scheduler).from_config(self.diffusion.scheduler.config)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # diffusers on numpy 2
            scheduler.set_timesteps(briefs[0].steps)
        starts = [min(round(b.reference_strength * b.steps), b.steps - 1) for b in briefs]
        latents = noise * scheduler.init_noise_sigma
        return Batch(list(briefs), scheduler, latents, starts, conditions, weights)

    @torch.inference_mode()
    def step(self, batch: Batch) -> bool:
        """Take one denoising step; True while more remain."""
        if batch.done >= batch.total:
            return False
        t = batch.scheduler.timesteps[batch.done]
        x = batch.scheduler.scale_model_input(batch.latents, t)
        velocity = self._velocity(x, t, batch)
        sigma = batch.scheduler.sigmas[batch.done]
        for i, start in enumerate(batch.starts):
            if start == batch.done > 0:
                velocity[i] = self._anchored(batch, i, batch.latents[i] - sigma * velocity[i], sigma)
        batch.latents = batch.scheduler.step(velocity, t, batch.latents, return_dict=False)[0]
        batch.done += 1
        return batch.done < batch.total

    @torch.inference_mode()
    def finish(self, batch: Batch) -> list[Image.Image]:
        """Decode what the batch holds now (also before its last step: a preview)."""
        return self._images(batch.latents)

    @torch.inference_mode()
    def conditioning(self, brief: Brief) -> tuple[Tensor, Tensor]:
        """(prompt_embeds, negative_prompt_embeds), each (1, M, W): what the stock diffusers pipeline takes."""
        embeds, _ = self.adapter(self._item(brief), self._user(brief), brief.strength)
        return embeds, self.adapter.unconditional(1)[0]

    def _conditions(self, briefs: list[Brief]) -> tuple[Tensor, Tensor]:
        """Conditions (K, B, M, W) and the weights (K, B) of their velocities: nothing, [item,] item with user."""
        items = torch.cat([self._item(b) for b in briefs])
        users = torch.cat([self._user(b) for b in briefs])
        strength = torch.tensor([float(b.strength) for b in briefs])
        full = self.adapter(items, users, strength)[0]
        nothing = self.adapter.unconditional(len(briefs))[0]
        guidance = torch.tensor([float(b.guidance) for b in briefs])
        if all(b.user_guidance is None for b in briefs):
            return torch.stack([nothing, full]), torch.stack([1 - guidance, guidance])
        cold = self.adapter(items, torch.zeros_like(users))[0]
        user = torch.tensor([float(b.guidance if b.user_guidance is None else b.user_guidance) for b in briefs])
        return torch.stack([nothing, cold, full]), torch.stack([1 - guidance, guidance - user, user])

    def _velocity(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        kinds, count = batch.weights.shape
        out = self.diffusion.transformer(
            x.repeat(kinds, 1, 1, 1),
            encoder_hidden_states=batch.conditions.flatten(0, 1),
            timestep=t.expand(kinds * count),
            return_dict=False,
        )[0]
        parts = out.unflatten(0, (kinds, count)) * batch.weights[..., None, None, None]
        return parts.sum(0)

    def _item(self, brief: Brief) -> Tensor:
        key = brief.item_digest()
        if key not in self._cache:
            self.reads += 1
            self._cache[key] = self.adapter.read(
                self.vlm, reading.inputs(self.processor, brief.title, brief.references)
            )
        self._cache.move_to_end(key)
        found = self._cache[key]
        while len(self._cache) > self.cache_size:
            self._cache.popitem(last=False)
        return found

    def _user(self, brief: Brief) -> Tensor:
        if brief.user_embedding is None:
            return torch.zeros(1, self.adapter.config.user)
        return torch.from_numpy(np.ascontiguousarray(brief.user_embedding))[None]

    def _noise(self, brief: Brief) -> Tensor:
        width, height = brief.size
        shape = (1, self.diffusion.transformer.config.in_channels, height // 8, width // 8)
        return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(brief.seed))

    def _anchored(self, batch: Batch, i: int, guess: Tensor, sigma: Tensor) -> Tensor:
        """Set the reference into `guess`, the clean latent (C, h, w) as now estimated; returns the velocity there."""
        vae, brief = self.diffusion.vae, batch.briefs[i]
        background = self._images(guess[None])[0]
        picture = collage(background, brief.references[0])
        pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        clean = vae.encode(pixels).latent[0] * vae.config.scaling_factor
        noise = self._noise(brief)[0]
        batch.latents[i] = (1 - sigma) * clean + sigma * noise
        return noise - clean

    def _images(self, latents: Tensor) -> list[Image.Image]:
        vae = self.diffusion.vae
        pixels = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        array = (pixels / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(picture) for picture in array]


def _load_diffusion(folder: Path) -> Any:
    """The stock pipeline in `folder`, without text encoders: conditions come as prompt_embeds."""
    from diffusers import DiffusionPipeline

    if not (folder / "model_index.json").is_file():
        raise CheckpointError(f"diffusion={str(folder)!r}: model_index.json is missing; allowed: a diffusers folder")
    parts = json.loads((folder / "model_index.json").read_text())
    unused = {name: None for name in parts if name.startswith(("text_encoder", "tokenizer"))}
    return DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **unused)
