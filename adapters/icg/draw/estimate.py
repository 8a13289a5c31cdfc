"""A batch before one of its steps, for losses: predictions under chosen conditions, and the clean latents that they imply.

It shares the samplers' arithmetic (`Moment`, `guided`), on all covers at once and with gradients. Knows no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from icg.adapter.model import IcgAdapter
from icg.draw.pipeline import Batch, CoverPipeline
from icg.draw.sampler import Condition, Moment, guidance_weights, guided, positioned
from icg.models.noise import Mixture, mixture

NOTHING, ITEM, PERSONAL = range(3)
"""Parts of guidance, in the order of `guidance_weights`."""
Encode = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""The forward pass of an adapter: items, users and strengths -> prompt embeddings and pooled ones."""


class Estimate:
    """One step of a batch. step: its number; None for the next one. latents: None for those of the batch.

    `weights`: by part of guidance, (B, 1, 1, 1) for each part that some cover uses. All tensors are copies, so that gradients may
    pass through them even if the batch was sampled in inference mode.
    """

    def __init__(
        self, pipeline: CoverPipeline, batch: Batch, step: int | None = None, latents: Tensor | None = None
    ) -> None:
        self._pipeline, samplers = pipeline, batch.samplers
        self.briefs = [sampler.brief for sampler in samplers]
        step = batch.done if step is None else step
        latents = batch.latents.clone() if latents is None else latents
        self._scheduler, self._step = samplers[0].scheduler, step
        self.now = Moment(positioned(self._scheduler, step), step, latents)
        self._items = torch.cat([sampler.item for sampler in samplers]).clone()
        self._users = torch.cat([sampler.user for sampler in samplers]).clone()
        self._strengths = self._users.new_tensor([float(brief.strength) for brief in self.briefs])
        hints = [sampler.hint for sampler in samplers if sampler.hint is not None]
        self._hints = torch.cat(hints).clone() if hints else None
        rows = torch.tensor([guidance_weights(brief, step) for brief in self.briefs], device=latents.device)
        used = [part for part in range(3) if any(guidance_weights(brief, step)[part] for brief in self.briefs)]
        self.weights: dict[int, Tensor] = {part: rows[:, part, None, None, None] for part in used}

    def personal(self, encode: Encode) -> Condition:
        """The condition for item and user, as this adapter encodes it."""
        return Condition(*encode(self._items, self._users, self._strengths))

    def unpersonal(self, adapter: IcgAdapter) -> tuple[Condition, Condition]:
        """The conditions for nothing and for the item with nobody, as this adapter encodes them."""
        nobody = torch.zeros_like(self._users)
        return Condition(*adapter.unconditional(len(self.briefs))), Condition(*adapter(self._items, nobody))

    def others(self) -> dict[int, Condition]:
        """The conditions of the other parts: nothing, and the item alone if some cover uses it. Encoded without gradients."""
        with torch.no_grad():
            nothing, item = self.unpersonal(self._pipeline.adapter)
        return {NOTHING: nothing, ITEM: item} if ITEM in self.weights else {NOTHING: nothing}

    def predict(self, condition: Condition, pipeline: CoverPipeline | None = None) -> Tensor:
        """The denoiser's prediction (B, C, h, w), by another pipeline's denoiser and ControlNet if one is given."""
        now, size, guidance = self.now, self.briefs[0].size, None
        if self._pipeline.family.takes_guidance:
            guidance = now.inputs.new_tensor([brief.guidance for brief in self.briefs])
        inputs = now.inputs, now.timesteps, *condition, self._hints, guidance, size
        return (pipeline or self._pipeline).predict(*inputs)

    def guided(self, predictions: Mapping[int, Tensor]) -> Tensor:
        """All parts' predictions under the briefs' guidance."""
        return guided(list(self.weights.values()), [predictions[part] for part in self.weights])

    def clean(self, personal: Tensor) -> Tensor:
        """The clean latents that the guided prediction implies; gradients reach them through the personal part alone."""
        return self.now.clean(self.guided({**self._fixed, PERSONAL: personal}))

    @property
    def after(self) -> Mixture:
        """How latents are mixed after this step."""
        return mixture(self._scheduler, self._step + 1)

    @cached_property
    def _fixed(self) -> dict[int, Tensor]:
        with torch.no_grad():
            return {part: self.predict(condition) for part, condition in self.others().items() if part in self.weights}
