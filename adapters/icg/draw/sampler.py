"""Sampling one cover, step by step: schedule, noise, guidance and anchoring. Library, service and trainings all sample by it.

Every number depends on the one brief: its schedule is a copy of its own that steps a single latent, and all noise comes from
CPU generators seeded by the brief. Gradients pass through `Moment` and `guided`. Knows no VLM and no queue.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.compose.cover import compose, fills
from icg.compose.detail import sharpened
from icg.compose.layout import PLACE, Place, stood
from icg.compose.subject import cropped
from icg.draw.anchor import blend
from icg.draw.drafts import draft_steps, enlarged, layout_noise
from icg.draw.preview import Colours, shown_after
from icg.draw.rows import Rows
from icg.models.families import Family
from icg.models.noise import Mixture, mixture

UNGUIDED = (0.0, 0.0)
"""No part of the steps."""
Weights = tuple[float, float, float]
"""Of the predictions for nothing, for the item alone, and for item and user; they add up to 1."""


class Condition(NamedTuple):
    """What the denoiser is conditioned on in one row: embeds (1, M, W), pooled (1, P) or None."""

    embeds: Tensor
    pooled: Tensor | None


class Moment:
    """Latents (B, C, h, w) before step `step` of a schedule: the denoiser's inputs, and what its predictions imply.

    Differentiable in latents and predictions.
    """

    def __init__(self, scheduler: Any, step: int, latents: Tensor) -> None:
        self._scheduler, self._step, self.latents = scheduler, step, latents
        self.timestep: Tensor = scheduler.timesteps[step]
        scale = getattr(scheduler, "scale_model_input", None)  # flow matching has none
        self.inputs: Tensor = latents if scale is None else scale(latents, self.timestep)

    @property
    def timesteps(self) -> Tensor:
        """(B,), on the latents' device: schedulers keep theirs on the CPU."""
        return self.timestep.to(self.latents.device).expand(len(self.latents))

    @cached_property
    def mixture(self) -> Mixture:
        """How the latents are mixed of clean and noise."""
        return mixture(self._scheduler, self._step)

    def clean(self, prediction: Tensor) -> Tensor:
        """The clean latents that a prediction implies (one-step x0)."""
        return self.mixture.clean(self.latents, prediction)

    def noise(self, prediction: Tensor) -> Tensor:
        """The noise that a prediction implies."""
        return self.mixture.noise(self.latents, prediction)


class Sampler:
    """One cover being sampled: `done` of `total` steps are taken, `latents` are (1, C, h, w).

    item (1, M, D) and user (1, U) are what `conditions` are encoded from, by `icg.draw.conditions`, before the first step.
    placed: for a brief that is inpainted, the product where it is to be; hint (1, ...) shows it to the ControlNet.
    trunk: sampled for several briefs, which branch off it. place: where the product of a brief with a ground is to be.
    draft_factor, layouts: see `icg.draw.drafts`; the brief's seed chooses one of the layouts. avoid (1, M, D): what the VLM read of words
    that guidance moves away from, None for nothing. sharpen: how much the decoded picture is sharpened before anything is set into it.
    studio: which one is drawn instead of a ground.
    """

    def __init__(
        self,
        family: Family,
        brief: Brief,
        item: Tensor,
        user: Tensor,
        hint: Tensor | None = None,
        placed: Image.Image | None = None,
        trunk: bool = False,
        place: Place | None = None,
        draft_factor: int = 1,
        layouts: int = 0,
        avoid: Tensor | None = None,
        sharpen: float = 0.0,
        studio: int | None = None,
    ) -> None:
        self._family, self.brief, self.item, self.user = family, brief, item, user
        self.hint, self.placed, self.trunk, self.avoid = hint, placed, trunk, avoid
        self._sharpen = sharpen
        self.place = place
        """Where the product is in the cover, None as long as the draft is to decide it."""
        self.conditions: tuple[Condition | None, ...] = ()
        self._drafts = draft_steps(brief.steps, draft_factor)
        self._factor = draft_factor if self._drafts else 1
        width, height = brief.size
        self.size = width // self._factor, height // self._factor
        """(width, height) that its latents are of: the brief's, or that of a draft."""
        self.scheduler = family.schedule(self._drafts or brief.steps, self.size)
        noise = first_noise(family, brief, self.size)
        if self._factor > 1 and layouts:
            layout = brief.seed % layouts if studio is None else layouts + studio
            noise = layout_noise(noise, torch.tensor([layout]), layouts)
        self.latents = noise * getattr(self.scheduler, "init_noise_sigma", 1.0)
        self._anchor = anchor_step(brief)
        self._takes = inspect.signature(self.scheduler.step).parameters.keys() & {"generator", "eta"}
        self._generator = _later_noise(brief)
        self.done = 0
        self.clean: Tensor | None = None
        """(C, h, w), the clean latent implied by the last step, if `advance` was asked to keep it."""

    @property
    def takes_guidance(self) -> bool:
        """Whether guidance is an input of the denoiser."""
        return self._family.takes_guidance

    @property
    def total(self) -> int:
        """Denoising steps in all; some schedules take one more than the brief says."""
        return self.brief.steps if self._factor > 1 else len(self.scheduler.timesteps)

    @property
    def finished(self) -> bool:
        """Whether only decoding is left."""
        return self.done >= self.total

    @property
    def rows(self) -> int:
        """Rows of its next step."""
        return rows_of(self.brief, self.done)

    @property
    def weighted(self) -> list[tuple[float, Condition]]:
        """The conditions of its next step with the weights of their predictions; a row each."""
        pairs = zip(guidance_weights(self.brief, self.done), self.conditions, strict=True)
        return [(weight, condition) for weight, condition in pairs if weight and condition is not None]

    @property
    def moment(self) -> Moment:
        """Its next step."""
        return Moment(self.scheduler, self.done, self.latents)

    def advance(self, predictions: Tensor, keep_clean: bool = False) -> None:
        """Take one step with the denoiser's predictions (rows, C, h, w). keep_clean: keep what they imply as `clean`."""
        prediction = guided([weight for weight, _ in self.weighted], predictions.split(1))
        if self.done == self._anchor > 0:
            now = self.moment
            clean, self.place = blend(self._family, self.brief, now.clean(prediction))
            noise = first_noise(self._family, self.brief, self.size)
            self.latents, prediction = now.mixture.latents(clean, noise), now.mixture.target(clean, noise)
        clean = mixture(self.scheduler, self.done).clean(self.latents, prediction) if keep_clean else None
        self.clean = None if clean is None else enlarged(clean, self._factor)[0]
        options = {
            "generator": self._generator,
            "eta": 0.0,
        }  # as stock pipelines say; some schedules have another default
        options = {name: value for name, value in options.items() if name in self._takes}
        t = self.scheduler.timesteps[self.done]
        self.latents = self.scheduler.step(prediction, t, self.latents, **options, return_dict=False)[0]
        self.done += 1
        if self.done == self._drafts:
            self._refine()

    def _refine(self) -> None:
        """Go on at the brief's size, from the finished draft."""
        draft, self._factor, self.size = enlarged(self.latents, self._factor), 1, tuple(self.brief.size)
        self.scheduler = positioned(self._family.schedule(self.brief.steps, self.size), self.done)
        noise = first_noise(self._family, self.brief, self.size)
        self.latents = mixture(self.scheduler, self.done).latents(draft, noise)

    @property
    def shows(self) -> bool:
        """Whether its next step gives something new to preview: it is far enough, or a picture is set in."""
        return shown_after(self.done + 1, self.total) or 0 < self._anchor == self.done < self.total - 1

    def preview(self, clean: Tensor, colours: Colours) -> Image.Image:
        """`clean` as a small picture, with the item's own picture where it is by now."""
        small = colours(clean)
        if fills(self.brief):
            edge = max(small.size)
            small = compose(self.brief, small)
            small.thumbnail((edge, edge), Image.Resampling.BOX)
        elif self.brief.product is not None and (self.placed is not None or self.place is not None):
            alone = self.placed or stood(cropped(self.brief.product), self.place or PLACE, self.brief.size)
            product = alone.resize(small.size)
            small.paste(product, (0, 0), product)
        return small

    def finish(self, decoded: Image.Image) -> Image.Image:
        """The cover, from its decoded latents."""
        return compose(self.brief, sharpened(decoded, self._sharpen), self.place)

    def branch(self, brief: Brief, user: Tensor, place: Place | None = None) -> Sampler:
        """Another sampler that goes on from here, for a brief of the same item, size and steps; this one stays as it is."""
        other = copy.copy(self)
        other.scheduler, other._generator = copy.deepcopy(self.scheduler), _later_noise(brief)
        other.brief, other.user, other.trunk, other._anchor = brief, user, False, anchor_step(brief)
        other.conditions, other.place = (), place
        return other


def stack(samplers: Sequence[Sampler]) -> Rows:
    """The rows of their next steps, in order. All are of one size, and all or none have a hint."""
    each = [(sampler, sampler.moment, [c for _, c in sampler.weighted]) for sampler in samplers]
    x = torch.cat([now.inputs for _, now, conditions in each for _ in conditions])
    t = torch.stack([now.timestep for _, now, conditions in each for _ in conditions]).to(x.device)
    flat = [condition for _, _, conditions in each for condition in conditions]
    pooled = [condition.pooled for condition in flat if condition.pooled is not None]
    hints = [sampler.hint for sampler, _, conditions in each for _ in conditions if sampler.hint is not None]
    embeds = torch.cat([condition.embeds for condition in flat])
    strengths = [s.brief.guidance for s, _, conditions in each for _ in conditions if s.takes_guidance]
    guidance = x.new_tensor(strengths) if strengths else None
    return Rows(x, t, embeds, torch.cat(pooled) if pooled else None, torch.cat(hints) if hints else None, guidance)


def step_together(predict: Callable[..., Tensor], samplers: Sequence[Sampler]) -> None:
    """Take one step of each in a single call of `predict(x, t, embeds, pooled, hint, guidance, size)`."""
    rows = stack(samplers)
    predictions = predict(*rows, samplers[0].size).to(rows.x.dtype)
    for sampler, part in zip(samplers, predictions.split([s.rows for s in samplers]), strict=True):
        sampler.advance(part)


def guided(weights: Sequence[float | Tensor], predictions: Sequence[Tensor]) -> Tensor:
    """Classifier-free guidance (arXiv:2207.12598): predictions, each (B, C, h, w), weighted by numbers or (B, 1, 1, 1)."""
    total = weights[0] * predictions[0]
    for weight, prediction in zip(weights[1:], predictions[1:], strict=True):
        total = total + weight * prediction
    return total


def guidance_weights(brief: Brief, step: int) -> Weights:
    """See Weights. Not guided are grounds, steps outside the brief's part, and those after a picture was set in.

    That picture then says what to draw; guidance would only harden its colours (arXiv:2404.07724).
    """
    if brief.ground or not brief.guides(step) or 0 < anchor_step(brief) < step:
        return 0.0, 0.0, 1.0
    item = float(brief.guidance)
    user = item if brief.user_guidance is None else float(brief.user_guidance)
    return 1 - item, item - user, user


def with_input_guidance(family: Family, brief: Brief) -> Brief:
    """The brief for a denoiser that takes guidance as an input: no step has a second row. Others get it as it is."""
    if not family.takes_guidance or brief.guided == UNGUIDED:
        return brief
    return replace(brief, guided=UNGUIDED)


def rows_of(brief: Brief, step: int = 0) -> int:
    """How many rows a step of a brief takes."""
    return sum(weight != 0 for weight in guidance_weights(brief, step))


def rows_ahead(brief: Brief, draft_factor: int = 1) -> list[float]:
    """For each step the rows of that one and all behind it, in rows of the brief's size; 0 behind the last."""
    drafts = draft_steps(brief.steps, draft_factor)
    rows = [rows_of(brief, step) / (draft_factor**2 if step < drafts else 1) for step in range(brief.steps)]
    return list(accumulate(reversed(rows), initial=0.0))[::-1]


def anchor_step(brief: Brief) -> int:
    """Before which step the product is set into the latents, 0 for never: it is set into grounds, or fills a cover, after decoding."""
    if brief.product is None or brief.ground:
        return 0
    return min(round(brief.reference_strength * brief.steps), brief.steps - 1)


def first_noise(family: Family, brief: Brief, size: tuple[int, int]) -> Tensor:
    """(1, C, h, w) for latents of `size`. Drawn on the CPU wherever the model is: the same seed is the same noise on any device."""
    generator = torch.Generator("cpu").manual_seed(brief.seed)
    return torch.randn((1, *family.shape(size)), generator=generator).to(family.device)


def positioned(scheduler: Any, step: int) -> Any:
    """A copy of a scheduler that is about to take `step`: some count their steps instead of looking at the timestep."""
    scheduler = copy.deepcopy(scheduler)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(step)
    return scheduler


def _later_noise(brief: Brief) -> torch.Generator:
    """For schedules that add noise on the way; + 1, not to repeat what they started from."""
    return torch.Generator("cpu").manual_seed(brief.seed + 1)
