"""Briefs to covers: frozen VLM -> meta tokens -> refiner -> connector -> any stock diffusers pipeline's own parts.

`__call__` is start, step until done, finish; a service may drive the steps itself. Each brief's result depends on that
brief alone (noise from its own seeded CPU generator), whatever shares its batch. Knows nothing about services.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.checkpoints import DIFFUSERS, read_json, weights
from icg.cut_out import cut_out
from icg.draw.anchor import collage
from icg.draw.readings import Readings
from icg.errors import BriefError, Cancelled, CheckpointError, Unsupported
from icg.models import vlm as reading
from icg.models.families import cast, family_of
from icg.models.noise import mixture
from icg.products import prompt as product_reading
from icg.products.inpainting import Inpainter, planes, stand
from icg.products.library import Trained
from icg.products.selection import FineTuned


@dataclass(eq=False)
class Batch:
    """Covers in the making. `done` of `total` steps are taken; latents are (B, C, h, w)."""

    briefs: list[Brief]
    scheduler: Any
    latents: Tensor
    starts: list[int]
    conditions: Tensor
    pooled: Tensor | None
    weights: Tensor
    hints: Tensor | None = None
    """For the ControlNet, a row a brief."""
    products: dict[int, Image.Image] = field(default_factory=dict)
    """By number of brief: its product, where it was set in, RGBA of the cover's size."""
    trained: Trained | None = None
    """What all briefs' product_id means."""
    done: int = 0

    @property
    def total(self) -> int:
        """Denoising steps in all."""
        return len(self.scheduler.timesteps)


class CoverPipeline(FineTuned):
    """See the module. `diffusion` is a stock diffusers pipeline of a family in `icg.models.families`; `cache` bounds the LRU."""

    inpainter: Inpainter | None = None
    """Paints around products; without it briefs that ask for that are refused."""

    def __init__(self, vlm: Any, processor: Any, diffusion: Any, adapter: IcgAdapter, cache: int = 256) -> None:
        self.family = family_of(diffusion)
        adapter.check(vlm, self.family.spec, type(self.family.denoiser).__name__)
        self.vlm, self.processor, self.diffusion, self.adapter = vlm, processor, diffusion, adapter.eval()
        self.readings = Readings(cache)

    @property
    def reads(self) -> int:
        """How many times the VLM has run."""
        return self.readings.misses

    @property
    def device(self) -> torch.device:
        """Where latents and conditions are."""
        return torch.device(self.family.denoiser.device)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> CoverPipeline:
        """Move all parts. `dtype` is for those that each step takes: denoiser, autoencoder, ControlNet."""
        steps = [self.family.denoiser, self.family.vae, *([self.inpainter.net] if self.inpainter else [])]
        for part in (self.vlm, self.adapter, *steps):
            part.to(device)
        for part in steps if dtype is not None else ():
            cast(part, dtype)
        self.readings = Readings(self.readings.limit)
        return self

    @classmethod
    def from_pretrained(cls, root: str | Path, cache: int = 256) -> CoverPipeline:
        """`root` holds vlm/, diffusion/ and adapter/ (with lora/ where the denoiser was trained too), maybe controlnet/;
        CheckpointError when they do not fit together."""
        root = Path(root)
        adapter = IcgAdapter.from_pretrained(root / "adapter")
        vlm, processor = reading.load(root / "vlm")
        made = cls(vlm, processor, _load_diffusion(root / "diffusion"), adapter, cache)
        if (root / "adapter" / "lora").is_dir():
            made.family.load_lora(root / "adapter" / "lora")
        if (root / "controlnet").is_dir():
            made.inpainter = Inpainter.from_pretrained(root / "controlnet", made.family)
        for part in (made.family.denoiser, made.family.vae):
            part.eval().requires_grad_(False)
        return made

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
        """Read the briefs and draw their noise. All must agree on steps, size, product_id and whether to inpaint."""
        for name in ("steps", "size", "inpaint", "product_id"):
            values = sorted({getattr(b, name) for b in briefs})
            if len(values) != 1:
                raise BriefError(f"{name}={values} in one call; allowed: one value for all briefs")
        trained = self.product(briefs[0])
        conditions, pooled, weights = self._conditions(briefs, trained)
        self.check_size(briefs[0].size)
        noise = torch.cat([self._noise(b) for b in briefs])
        scheduler = self.schedule(briefs[0])
        starts = [anchor_of(b) for b in briefs]
        latents = noise * getattr(scheduler, "init_noise_sigma", 1.0)  # flow matching has none
        batch = Batch(list(briefs), scheduler, latents, starts, conditions, pooled, weights, trained=trained)
        if briefs[0].inpaint:
            hints, placed = zip(*(self.hinted(b) for b in briefs), strict=True)
            batch.hints, batch.products = torch.cat(hints), dict(enumerate(placed))
        return batch

    @torch.inference_mode()
    def step(self, batch: Batch) -> bool:
        """Take one denoising step; True while more remain."""
        if batch.done >= batch.total:
            return False
        self._wear(batch.trained)
        t = batch.scheduler.timesteps[batch.done]
        now = mixture(batch.scheduler, batch.done)
        scale = getattr(batch.scheduler, "scale_model_input", lambda x, _: x)  # flow matching has none
        said = self._guided(scale(batch.latents, t), t, batch)
        for i, start in enumerate(batch.starts):
            if start == batch.done > 0:
                clean, noise, batch.products[i] = self._anchored(batch.briefs[i], now.clean(batch.latents[i], said[i]))
                batch.latents[i], said[i] = now.latents(clean, noise), now.target(clean, noise)
        batch.latents = batch.scheduler.step(said, t, batch.latents, return_dict=False)[0]
        batch.done += 1
        return batch.done < batch.total

    @torch.inference_mode()
    def finish(self, batch: Batch) -> list[Image.Image]:
        """Decode what the batch holds now (also before its last step: a preview)."""
        covers = self._images(batch.latents)
        return [
            finished(b, c, batch.products.get(i)) for i, (b, c) in enumerate(zip(batch.briefs, covers, strict=True))
        ]

    def hinted(self, brief: Brief) -> tuple[Tensor, Image.Image]:
        """What the ControlNet is shown of a brief, one row, and the product where it stands. Unsupported without a ControlNet."""
        if self.inpainter is None or brief.product is None:
            raise Unsupported("inpaint=True; allowed: False, this checkpoint has no controlnet/")
        placed = stand(brief.product, brief.seed, brief.size)
        return self.inpainter.hint(planes(placed).to(self.device)), placed

    def predict(
        self, x: Tensor, t: Tensor, embeds: Tensor, pooled: Tensor | None, hint: Tensor | None, size: tuple[int, int]
    ) -> Tensor:
        """`Family.predict`, around what `hint` (B, ...) shows."""
        asked, dtype = x.dtype, self.family.denoiser.dtype
        x, embeds, pooled = x.to(dtype), embeds.to(dtype), None if pooled is None else pooled.to(dtype)
        if hint is None or self.inpainter is None:
            return self.family.predict(x, t, embeds, pooled, size).to(asked)
        residuals = self.inpainter.residuals(x, t, embeds, pooled, hint.to(dtype), size)
        return self.family.predict(x, t, embeds, pooled, size, residuals).to(asked)

    def check_size(self, size: tuple[int, int]) -> None:
        """BriefError for a size this diffusion model cannot draw."""
        if any(edge % self.family.multiple for edge in size):
            raise BriefError(f"size={size}; allowed: multiples of {self.family.multiple} for this diffusion model")

    def schedule(self, brief: Brief) -> Any:
        """The diffusion model's scheduler for one run of the brief's steps: it keeps the state of that run."""
        scheduler = copy.deepcopy(self.diffusion.scheduler)
        self.family.set_timesteps(scheduler, brief.steps, brief.size)
        return scheduler

    @torch.inference_mode()
    def conditioning(self, brief: Brief) -> dict[str, Tensor]:
        """What the stock diffusers pipeline takes: prompt_embeds and negative_prompt_embeds, each (1, M, W), and, where the
        family wants them, pooled_prompt_embeds and negative_pooled_prompt_embeds, each (1, P).
        """  # fmt: skip
        embeds, pooled = self.adapter(self._item(brief, self.product(brief)), self._user(brief), brief.strength)
        nothing, pooled_nothing = self.adapter.unconditional(1)
        given = {"prompt_embeds": embeds, "negative_prompt_embeds": nothing}
        if pooled is not None and pooled_nothing is not None:
            given |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": pooled_nothing}
        return given

    def _conditions(self, briefs: list[Brief], product: Trained | None = None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Conditions (K, B, M, W), pooled (K, B, P) or None, and the weights (K, B) of the denoiser's answers to them.

        K = 2: nothing, item with user; or K = 3 when some brief guides by its user: nothing, item, item with user.
        """
        items = torch.cat([self._item(b, product) for b in briefs])
        users = torch.cat([self._user(b) for b in briefs])
        strength = torch.tensor([float(b.strength) for b in briefs], device=self.device)
        guidance = torch.tensor([float(b.guidance) for b in briefs], device=self.device)
        kinds = [self.adapter.unconditional(len(briefs)), self.adapter(items, users, strength)]
        weights = [1 - guidance, guidance]
        if any(b.user_guidance is not None for b in briefs):
            user = guidance.new_tensor(
                [float(b.guidance if b.user_guidance is None else b.user_guidance) for b in briefs]
            )
            kinds.insert(1, self.adapter(items, torch.zeros_like(users)))
            weights = [1 - guidance, guidance - user, user]
        pooled = [p for _, p in kinds if p is not None]
        return torch.stack([e for e, _ in kinds]), torch.stack(pooled) if pooled else None, torch.stack(weights)

    def _guided(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        guided = [guides(b, batch.done) for b in batch.briefs]
        weights = batch.weights
        if not all(guided):
            alone = torch.zeros_like(weights)
            alone[-1] = 1
            weights = torch.where(torch.tensor(guided, device=x.device), weights, alone)
        first = 0 if any(guided) else -1  # what weighs nothing for all is not computed
        weights, conditions = weights[first:], batch.conditions[first:]
        kinds, count = weights.shape
        pooled = None if batch.pooled is None else batch.pooled[first:].flatten(0, 1)
        embeds, size = conditions.flatten(0, 1), batch.briefs[0].size
        hints = None if batch.hints is None else batch.hints.repeat(kinds, 1, 1, 1)
        out = self.predict(x.repeat(kinds, 1, 1, 1), t.expand(kinds * count), embeds, pooled, hints, size)
        parts = out.unflatten(0, (kinds, count)) * weights[..., None, None, None]
        return parts.sum(0)

    def _item(self, brief: Brief, product: Trained | None = None, digest: str = "") -> Tensor:
        return self.readings.get(digest or self.item_key(brief, product), lambda: self._read(brief, product))

    def _read(self, brief: Brief, product: Trained | None) -> Tensor:
        texts, vectors = (brief.title, ""), None
        if product is not None:
            texts, vectors = product.texts(brief.title), product.vectors
        return product_reading.read(self.adapter, self.vlm, self.processor, texts, vectors, brief.references)

    def _user(self, brief: Brief) -> Tensor:
        if brief.user_embedding is None:
            return torch.zeros(1, self.adapter.config.user, device=self.device)
        user = np.ascontiguousarray(brief.user_embedding)
        self.adapter.check_width(user.shape[-1])
        # Again, since an array may change after its brief was checked; and here, where no device has to be waited for.
        if not np.isfinite(user).all():
            raise BriefError("user_embedding holds NaN or infinity; allowed: finite numbers")
        return torch.from_numpy(user)[None].to(self.device)

    def _noise(self, brief: Brief) -> Tensor:
        shape = (1, *self.family.shape(brief.size))
        # Drawn on the CPU wherever the model is: the same seed is the same noise on any device.
        return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(brief.seed)).to(self.device)

    def _anchored(self, brief: Brief, guess: Tensor) -> tuple[Tensor, Tensor, Image.Image]:
        """Set product or reference into `guess`, the clean latent (C, h, w) as now estimated; returns it, the brief's noise, and
        what was set in."""
        picture, alone = collage(self._images(guess[None])[0], subject_of(brief))
        pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].to(self.device).float() / 127.5 - 1
        return self.family.encode(pixels)[0], self._noise(brief)[0], alone

    def _images(self, latents: Tensor) -> list[Image.Image]:
        return [Image.fromarray(picture) for picture in self._bytes(latents).cpu().numpy()]

    def _bytes(self, latents: Tensor) -> Tensor:
        """Decoded, uint8 (B, H, W, 3)."""
        pixels = self.family.decode(latents)
        return (pixels / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1)


def anchor_of(brief: Brief) -> int:
    """Before which step the reference is set in, 0 for never."""
    return min(round(brief.reference_strength * brief.steps), brief.steps - 1)


def guides(brief: Brief, step: int) -> bool:
    """Whether guidance is computed in a step: where the brief says so, until a picture is set in, which then says what to draw;
    guidance would only harden its colours (arXiv:2404.07724)."""
    return brief.guides(step) and not 0 < anchor_of(brief) < step


def subject_of(brief: Brief) -> Image.Image:
    """What is set in, cropped: the product, or else the first reference without its plain ground."""
    if brief.product is None:
        return cut_out(brief.references[0], 2 * max(brief.size))
    return brief.product.crop(brief.product.getchannel("A").getbbox())


def finished(brief: Brief, cover: Image.Image, alone: Image.Image | None) -> Image.Image:
    """`cover` as it was decoded, with the brief's product pixel for pixel: where it was set in (`alone`), or set in now."""
    if brief.product is None:
        return cover
    if alone is None:
        return collage(cover, subject_of(brief))[0]
    cover.paste(alone, (0, 0), alone)
    return cover


def _load_diffusion(folder: Path) -> Any:
    """The stock pipeline in `folder`, of which only these parts are used: conditions come as prompt_embeds."""
    from diffusers import DiffusionPipeline

    stated = read_json("diffusion", folder / "model_index.json")
    parts = [name for name, value in stated.items() if isinstance(value, list)]
    used = [name for name in parts if name in ("unet", "transformer", "vae")]
    for name in used:
        weights(f"diffusion {name}", folder / name, DIFFUSERS)
    unused: dict[str, Any] = {name: None for name in parts if name not in (*used, "scheduler")}
    unused |= {"requires_safety_checker": False} if "requires_safety_checker" in stated else {}
    try:
        return DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **unused)
    except (OSError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"diffusion={str(folder)!r}: not readable ({error}); allowed: a diffusers folder with safetensors"
        ) from error
