"""Briefs to covers: frozen VLM -> meta tokens -> refiner -> connector -> any stock diffusers pipeline's own parts.

`__call__` is start, step until done, finish; trainings and `icg.scheduler` drive the steps themselves, with the same samplers
(`icg.draw.sampler`). A cover depends on its brief alone, whatever shares its batch. Knows nothing about services.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.compose.cover import fills, set_down
from icg.compose.layout import Place
from icg.compose.scene import stand
from icg.compose.subject import aspect, mean_colour
from icg.data.sizes import metres
from icg.draw.conditions import Conditioner
from icg.draw.readings import Readings
from icg.draw.sampler import Sampler, step_together, with_input_guidance
from icg.errors import BriefError, Cancelled, Unsupported
from icg.models import vlm as reading
from icg.models.compatible import family_of
from icg.models.families import EMPTY, Residuals, cast
from icg.models.stock import denoiser_name, load_diffusion, with_denoiser
from icg.products import prompt as product_reading
from icg.products.inpainting import Inpainter, planes
from icg.products.library import TrainedProduct
from icg.products.selection import ProductMixin
from icg.settings import DrawingSettings


@dataclass(eq=False)
class Batch:
    """Covers being sampled, of equal steps, size and product, all or none grounds; `product` is what their product_id means."""

    samplers: list[Sampler]
    product: TrainedProduct | None

    @property
    def done(self) -> int:
        """Denoising steps taken."""
        return self.samplers[0].done

    @property
    def total(self) -> int:
        """Denoising steps in all."""
        return self.samplers[0].total

    @property
    def ground(self) -> bool:
        """Whether they are grounds."""
        return self.samplers[0].brief.ground

    @property
    def latents(self) -> Tensor:
        """(B, C, h, w)."""
        return torch.cat([sampler.latents for sampler in self.samplers])


class CoverPipeline(ProductMixin):
    """See the module. `diffusion` is a stock diffusers pipeline of a family in `icg.models.families`; `cache` bounds the LRU."""

    inpainter: Inpainter | None = None
    """Paints around products; without it briefs that ask for that are refused."""
    grounds: CoverPipeline | None = None
    """Draws grounds, with an adapter and a denoiser of its own and all else of this one; None: this one does, if its adapter can."""
    studios: CoverPipeline | None = None
    """Draws studios, as `grounds` does but for its denoiser; None: what draws grounds does."""
    settings = DrawingSettings()
    """How it is drawn if a caller does not say."""

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
        return self.family.device

    def drawer(self, ground: bool) -> CoverPipeline:
        """What draws grounds, or whole covers."""
        return self.grounds if ground and self.grounds is not None else self

    @property
    def drawers(self) -> dict[str, CoverPipeline]:
        """What draws briefs, by `drawn_by` of them."""
        apart = {"grounds": self.grounds, "studios": self.studios}
        return {"": self, **{name: drawer for name, drawer in apart.items() if drawer is not None}}

    def drawn_by(self, brief: Brief) -> str:
        """Which of the `drawers` draws a prepared brief: "" for whole covers, and for all that no other denoiser draws."""
        kinds = ("studios", "grounds") if brief.inpaint else ("grounds",)
        return next((kind for kind in kinds if brief.ground and kind in self.drawers), "")

    def whole(self) -> CoverPipeline:
        """The same parts without what draws grounds alone: its own adapter draws all covers, as trainings of that adapter want it."""
        other = copy.copy(self)
        other.grounds = other.studios = None
        return other

    def copied(self) -> CoverPipeline:
        """The same parts with a denoiser of its own."""
        other, parts = copy.copy(self), self.diffusion.components
        parts[denoiser_name(self.diffusion)] = copy.deepcopy(self.family.denoiser)
        other.diffusion = type(self.diffusion)(**parts)
        other.family = family_of(other.diffusion)
        return other

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> CoverPipeline:
        """Move all parts. `dtype` is for those that each step takes: denoiser, autoencoder, ControlNet. An autoencoder that overflows in
        float16, as its configuration says, stays as it is."""
        vae, steps = self.family.vae, [self.family.denoiser, *([self.inpainter.net] if self.inpainter else [])]
        for part in (self.vlm, self.adapter, vae, *steps):
            part.to(device)
        overflows = dtype is torch.float16 and vae.config.get("force_upcast", False)
        for part in (*steps, *(() if overflows else (vae,))) if dtype is not None else ():
            cast(part, dtype)
        self.readings = Readings(int(self.readings.maxsize))
        for drawer in (self.grounds, self.studios):
            if drawer is not None:
                drawer.to(device, dtype)
        return self

    @classmethod
    def from_pretrained(cls, root: str | Path, cache: int = 256) -> CoverPipeline:
        """`root` holds vlm/, diffusion/ and adapter/ (with lora/ where the denoiser was trained too), maybe controlnet/, maybe
        grounds/ with an adapter and a denoiser that draw grounds, and in it maybe studios/ with low-rank weights for studios.
        CheckpointError when they do not fit together."""
        root = Path(root)
        adapter = IcgAdapter.from_pretrained(root / "adapter")
        vlm, processor = reading.load(root / "vlm")
        pipeline = cls(vlm, processor, load_diffusion(root / "diffusion"), adapter, cache)
        pipeline.settings = DrawingSettings.read(root)
        if (root / "adapter" / "lora").is_dir():
            pipeline.family.load_lora(root / "adapter" / "lora")
        if (root / "controlnet").is_dir():
            pipeline.inpainter = Inpainter.from_pretrained(root / "controlnet", pipeline.family)
        if (root / "grounds").is_dir():
            adapter = IcgAdapter.from_pretrained(root / "grounds" / "adapter")
            other = with_denoiser(pipeline.diffusion, root / "grounds" / "denoiser")
            pipeline.grounds = cls(vlm, processor, other, adapter, cache=1)
            pipeline.grounds.family.denoiser.eval().requires_grad_(False)
            if (root / "grounds" / "studios").is_dir():
                pipeline.studios = pipeline.grounds.copied()
                pipeline.studios.family.load_lora(root / "grounds" / "studios")
                pipeline.studios.family.denoiser.eval().requires_grad_(False)
        for part in (pipeline.family.denoiser, pipeline.family.vae):
            part.eval().requires_grad_(False)
        return pipeline

    def __call__(self, briefs: list[Brief], on_step: Callable[[int, int], bool] | None = None) -> list[Image.Image]:
        """One cover per brief. `on_step(step, total)` runs after each step of covers of one size; returning False raises Cancelled."""
        briefs = list(map(self.prepared, briefs))
        covers: dict[int, Image.Image] = {}
        kinds = [
            (brief.ground, brief.inpaint, tuple(brief.size)) for brief in briefs
        ]  # grounds may be larger than whole covers
        for kind in dict.fromkeys(kinds):
            rows = [row for row, other in enumerate(kinds) if other == kind]
            covers |= zip(rows, self._covers([briefs[row] for row in rows], on_step), strict=True)
        return [covers[row] for row in range(len(briefs))]

    def _covers(self, briefs: list[Brief], on_step: Callable[[int, int], bool] | None) -> list[Image.Image]:
        batch, more = self.start(briefs), True
        while more:
            more = self.step(batch)
            if on_step is not None and on_step(batch.done, batch.total) is False:
                raise Cancelled(f"on_step returned False after step {batch.done} of {batch.total}")
        return self.finish(batch)

    @torch.inference_mode()
    def start(self, briefs: list[Brief]) -> Batch:
        """Read the briefs and draw their noise. All must agree on steps, size as drawn, product_id, and whether to inpaint or to draw
        grounds."""
        briefs = list(map(self.prepared, briefs))
        for name in ("steps", "size", "ground", "inpaint", "product_id"):
            values = sorted({getattr(b, name) for b in briefs})
            if len(values) != 1:
                raise BriefError(f"{name}={values} in one call; allowed: one value for all briefs")
        self.check_size(briefs[0].size)
        product = self.product(briefs[0])
        batch = Batch([self.sampler(brief, product) for brief in briefs], product)
        Conditioner(self.drawer(batch.ground).adapter)(batch.samplers)
        return batch

    @torch.inference_mode()
    def step(self, batch: Batch) -> bool:
        """Take one denoising step; True while more remain."""
        if batch.done >= batch.total:
            return False
        self._wear(batch.product)
        step_together(self.drawers[self.drawn_by(batch.samplers[0].brief)].predict, batch.samplers)
        return batch.done < batch.total

    @torch.inference_mode()
    def finish(self, batch: Batch) -> list[Image.Image]:
        """Decode what the batch holds now (also before its last step: a preview)."""
        images = self.family.images(batch.latents)
        return [sampler.finish(image) for sampler, image in zip(batch.samplers, images, strict=True)]

    def sampler(
        self, brief: Brief, product: TrainedProduct | None = None, digest: str = "", trunk: bool = False
    ) -> Sampler:
        """A sampler of the brief before its first step, without conditions. digest: `item_key` of it, if that is known."""
        hint, placed = self.hinted(brief) if brief.inpaint and not brief.ground else (None, None)
        item, user = self.item(brief, product, digest), self.user(brief)
        drawer, studio, factor = self.drawer(brief.ground), self.studio(brief), self.draft_factor(brief)
        place = self.place(brief, user) if studio is None else self.studio_place(brief, studio)
        sharpen = self.settings.sharpen if brief.ground else 0.0
        own = drawer.adapter.config.layouts, self.avoid(brief), sharpen, studio
        return Sampler(
            drawer.family, brief, item, self.drawn_user(brief, user), hint, placed, trunk, place, factor, *own
        )

    def prepared(self, brief: Brief) -> Brief:
        """The brief as this checkpoint draws it: around the item's own picture the ground alone, if it can draw grounds, and around a
        product a studio, if it can draw studios. A scene that a ControlNet paints is drawn at the size of grounds by a denoiser of both. A
        denoiser that takes guidance as an input is not guided by a second row."""
        brief = with_input_guidance(self.family, brief)
        anchored = (brief.product is not None or fills(brief)) and not brief.product_id
        alone = brief.ground or not anchored or self.drawer(True).adapter.placement is None
        painted = brief.inpaint and self.drawer(True).adapter.studios is None
        if alone or (painted and self.grounds is not None):
            return brief
        brief = replace(brief, ground=not painted, size=self.ground_size(brief.size))
        return replace(brief, user_embedding=None, strength=1.0) if _unknown(brief) else brief

    def ground_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the ground of a cover of `size`: at least as large as the adapter's grounds."""
        config = self.drawer(True).adapter.config
        scale, multiple = max(1.0, config.grounds / max(size)), 16 * config.draft_factor
        return tuple(round(edge * scale / multiple) * multiple for edge in size)  # type: ignore[return-value]

    def draft_factor(self, brief: Brief) -> int:
        """The edge of what it draws over that of its draft, 1 without one."""
        return self.drawer(True).adapter.config.draft_factor if brief.ground else 1

    def place(self, brief: Brief, user: Tensor) -> Place | None:
        """Where the user (1, U) likes the product in a ground; None if there is none."""
        placement = self.drawer(True).adapter.placement
        if not brief.ground or brief.product is None or placement is None:
            return None
        return set_down(brief, Place(*placement.place(user[0])))

    def studio(self, brief: Brief) -> int | None:
        """Which studio is drawn around the product of a prepared brief, None for any other cover."""
        if not brief.ground or not brief.inpaint or brief.product is None:
            return None
        return self.drawer(True).adapter.studios.choose(metres(brief.title), aspect(brief.product), brief.seed)

    def studio_place(self, brief: Brief, studio: int) -> Place | None:
        """Where the product stands in this studio; None for a brief without a product."""
        if brief.product is None:
            return None
        return Place(*self.drawer(True).adapter.studios.place(studio, metres(brief.title), aspect(brief.product)))

    def hinted(self, brief: Brief) -> tuple[Tensor, Image.Image]:
        """What the ControlNet is shown of a brief, one row, and the product where it stands. Unsupported without a ControlNet."""
        if self.inpainter is None or brief.product is None:
            raise Unsupported("inpaint=True; allowed: False, this checkpoint has no controlnet/")
        placed = stand(brief.product, brief.seed, brief.size)
        return self.inpainter.hint(planes(placed).to(self.device)), placed

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        embeds: Tensor,
        pooled: Tensor | None,
        hint: Tensor | None,
        guidance: Tensor | None,
        size: tuple[int, int],
    ) -> Tensor:
        """`Family.predict`, around what `hint` (B, ...) shows."""
        output_dtype, dtype = x.dtype, self.family.denoiser.dtype
        x, embeds, pooled = x.to(dtype), embeds.to(dtype), None if pooled is None else pooled.to(dtype)
        guidance = None if guidance is None else guidance.to(dtype)
        residuals: Residuals = EMPTY
        if hint is not None and self.inpainter is not None:
            residuals = self.inpainter.residuals(x, t, embeds, pooled, hint.to(dtype), size)
        return self.family.predict(x, t, embeds, pooled, size, residuals, guidance).to(output_dtype)

    def check_size(self, size: tuple[int, int]) -> None:
        """BriefError for a size this diffusion model cannot draw."""
        if any(edge % self.family.multiple for edge in size):
            raise BriefError(f"size={size}; allowed: multiples of {self.family.multiple} for this diffusion model")

    @torch.inference_mode()
    def conditioning(self, brief: Brief) -> dict[str, Tensor]:
        """What the stock diffusers pipeline takes: prompt_embeds and negative_prompt_embeds, each (1, M, W), and, where the
        family wants them, pooled_prompt_embeds and negative_pooled_prompt_embeds, each (1, P).
        """
        embeds, pooled = self.adapter(self.item(brief, self.product(brief)), self.user(brief), brief.strength)
        avoid, nobody = self.avoid(brief), torch.zeros(1, self.adapter.config.user, device=self.device)
        nothing, pooled_nothing = self.adapter.unconditional(1) if avoid is None else self.adapter(avoid, nobody)
        kwargs = {"prompt_embeds": embeds, "negative_prompt_embeds": nothing}
        if pooled is not None and pooled_nothing is not None:
            kwargs |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": pooled_nothing}
        return kwargs

    def item(self, brief: Brief, product: TrainedProduct | None = None, digest: str = "") -> Tensor:
        """What the VLM read of the item, (1, M, D), cached; the tokens of an empty item for a ground, and those of studios for these."""
        if brief.ground:
            adapter = self.drawer(True).adapter
            return (adapter.studios.tokens if brief.inpaint else adapter.nothing)[None]
        return self.readings.read(digest or self.item_key(brief, product), lambda: self._read(brief, product))

    def avoid(self, brief: Brief) -> Tensor | None:
        """What the VLM read of the words that guidance moves away from, (1, M, D), cached; None without such words."""
        return self.item(Brief(brief.negative)) if brief.negative and not brief.ground else None

    def _read(self, brief: Brief, product: TrainedProduct | None) -> Tensor:
        text = brief.prompt if self.adapter.config.audience else brief.title
        texts, vectors = (text, ""), None
        if product is not None:
            texts, vectors = product.texts(text), product.vectors
        return product_reading.read(self.adapter, self.vlm, self.processor, texts, vectors, brief.references)

    def user(self, brief: Brief) -> Tensor:
        """The user embedding (1, U) on the device, zeros for nobody. BriefError for one that is not finite or of another width."""
        if brief.user_embedding is None:
            return torch.zeros(1, self.adapter.config.user, device=self.device)
        user = np.ascontiguousarray(brief.user_embedding)
        self.adapter.check_width(user.shape[-1])
        # Again, since an array may change after its brief was checked; and here, where no device has to be waited for.
        if not np.isfinite(user).all():
            raise BriefError("user_embedding holds NaN or infinity; allowed: finite numbers")
        return torch.from_numpy(user)[None].to(self.device)

    def drawn_user(self, brief: Brief, user: Tensor) -> Tensor:
        """For whom a prepared brief is drawn, (1, U): for a ground and a studio the one that the adapter decides on for its user."""
        decision = self.drawer(True).adapter.decision
        if not brief.ground or decision is None:
            return user
        if not brief.inpaint or brief.product is None:
            return decision.ground(user, brief.seed)
        return decision.studio(user, brief.seed, torch.tensor(mean_colour(brief.product)))


def _unknown(brief: Brief) -> bool:
    """Whether a studio is drawn for no user in particular."""
    return brief.ground and brief.inpaint and (brief.user_embedding is None or brief.strength == 0)
