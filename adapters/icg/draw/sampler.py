"""The state of one cover in the making: its own schedule, history, noise and conditions. One row for each condition that counts.

The same steps as `icg.draw.pipeline`, a row at a time. Every number here depends on the one brief: conditions
come from calls whose rows are
as alone, the schedule is the diffusion model's own object, stepped on one latent. Knows no queue.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline, anchor_of, finished, guides
from icg.draw.preview import Colours, shown_after
from icg.models.batch_exactness import Agreement, steady
from icg.models.noise import mixture
from icg.products.library import Trained

ADAPTED = 16
"""Conditions in one call of the adapter at most."""


class Kind(NamedTuple):
    """What the denoiser is told in one row: embeds (1, M, W), pooled (1, P) or None, and what its answer weighs."""

    weight: float
    embeds: Tensor
    pooled: Tensor | None


class Wish(NamedTuple):
    """What the adapter is to make a Kind of: an item (1, M, D) and a user (1, U), at that strength; None for neither."""

    weight: float
    about: tuple[Tensor, Tensor] | None = None
    strength: float = 1.0


class Conditions:
    """Briefs to wishes, and those of many to kinds in one call of the adapter, of which one row costs as much as four.

    The adapter must not change any more. `exact`: kinds are bit by bit as in a call of their own.
    """

    def __init__(self, pipeline: CoverPipeline, exact: bool = False) -> None:
        self._pipeline, adapter = pipeline, pipeline.adapter
        if exact:
            steady(adapter)
        self.nothing = Kind(0.0, *adapter.unconditional(1))
        random = torch.Generator("cpu").manual_seed(0)
        items = torch.randn((ADAPTED, *adapter.nothing.shape), generator=random).to(adapter.nothing)
        users = torch.randn((ADAPTED, adapter.config.user), generator=random).to(adapter.nothing)
        self._agreement = Agreement(lambda part: adapter(items[part], users[part])[0], ADAPTED, exact)

    def __call__(self, brief: Brief, digest: str, product: Trained | None = None) -> list[Wish]:
        """Nothing, item, item with user; the first two only where they weigh anything. BriefError for a user of another adapter."""
        item, user = self._pipeline._item(brief, product, digest), self._pipeline._user(brief)
        guidance = float(brief.guidance)
        own = guidance if brief.user_guidance is None else float(brief.user_guidance)
        wishes = [Wish(1 - guidance)] if guidance != 1 else []
        if guidance != own:
            wishes.append(Wish(guidance - own, (item, torch.zeros_like(user))))
        return [*wishes, Wish(own, (item, user), float(brief.strength))]

    def tell(self, runs: Sequence[Run]) -> None:
        """Those of these runs that are new what they draw."""
        asked = [(run, wish) for run in runs if not run.told for wish in run.wishes]
        made = self._made([(*wish.about, wish.strength) for _, wish in asked if wish.about is not None])
        for run, wish in asked:
            run.told.append(
                self.nothing._replace(weight=wish.weight) if wish.about is None else Kind(wish.weight, *next(made))
            )

    def _made(self, about: list[tuple[Tensor, Tensor, float]]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """(1, M, W) and (1, P) or None of each."""
        done = 0
        for count in self._agreement.parts(len(about)):
            items, users, strength = zip(*about[done : done + count], strict=True)
            embeds, pooled = self._pipeline.adapter(torch.cat(items), torch.cat(users), users[0].new_tensor(strength))
            yield from zip(embeds.split(1), [None] * count if pooled is None else pooled.split(1), strict=True)
            done += count


def rows_of(brief: Brief, step: int = 0) -> int:
    """How many rows a step of a brief takes."""
    if not guides(brief, step):
        return 1
    own = brief.guidance if brief.user_guidance is None else brief.user_guidance
    return (brief.guidance != 1) + (brief.guidance != own) + (own != 0)


def rows_ahead(brief: Brief) -> list[int]:
    """For each step the rows of that one and all behind it; 0 behind the last."""
    backwards = accumulate((rows_of(brief, step) for step in reversed(range(brief.steps))), initial=0)
    return list(backwards)[::-1]


class Run:
    """`done` of `total` steps are taken; `latents` (1, C, h, w). `trunk`: drawn for several, who branch off it.

    `told`: a Kind for each of `wishes`, from `Conditions.tell` before the first step.
    """

    def __init__(self, pipeline: CoverPipeline, brief: Brief, wishes: list[Wish], trunk: bool = False) -> None:
        self._pipeline, self.brief, self.trunk = pipeline, brief, trunk
        self.wishes, self.told = wishes, list[Kind]()
        self.scheduler = pipeline.schedule(brief)
        scale = getattr(self.scheduler, "init_noise_sigma", 1.0)  # flow matching has none
        self.latents = pipeline._noise(brief) * scale
        self._anchor = anchor_of(brief)
        self._alone: Image.Image | None = None
        self.hint: Tensor | None = None
        if brief.inpaint:
            self.hint, self._alone = pipeline.hinted(brief)
        self._random: dict[str, Any] = {}
        if "generator" in inspect.signature(self.scheduler.step).parameters:
            # Schedules that add noise on the way take it from the brief's seed too; + 1, not to repeat what they started from.
            self._random = {"generator": torch.Generator("cpu").manual_seed(brief.seed + 1)}
        self.done = 0
        self.clean: Tensor | None = None
        """(C, h, w), what the denoiser took the latent for in the last step, where that was asked for."""

    @property
    def total(self) -> int:
        """Denoising steps in all; some schedules take one more than the brief says."""
        return len(self.scheduler.timesteps)

    @property
    def kinds(self) -> list[Kind]:
        """What the denoiser is told in its next step; a row each."""
        if not guides(self.brief, self.done):
            return [self.told[-1]._replace(weight=1.0)]
        return [kind for kind in self.told if kind.weight]

    @property
    def rows(self) -> int:
        """Rows of its next step."""
        return rows_of(self.brief, self.done)

    @property
    def finished(self) -> bool:
        """Whether only decoding is left."""
        return self.done >= self.total

    @property
    def shows(self) -> bool:
        """Whether there is something new to preview after its next step: it is far enough, or a picture is set in."""
        return shown_after(self.done + 1, self.total) or 0 < self._anchor == self.done < self.total - 1

    def preview(self, clean: Tensor, colours: Colours) -> Image.Image:
        """`clean`, with the product where that stands by now."""
        small = colours(clean)
        if self._alone is not None and self.brief.product is not None:
            alone = self._alone.resize(small.size)
            small.paste(alone, (0, 0), alone)
        return small

    def finish(self, decoded: Image.Image) -> Image.Image:
        """The cover, from its decoded latents."""
        return finished(self.brief, decoded, self._alone)

    def branch(self, brief: Brief, wishes: list[Wish]) -> Run:
        """Another run that goes on from here for a brief of the same size and steps; this one stays as it is."""
        made = copy.copy(self)
        made.scheduler, made._random = copy.deepcopy(self.scheduler), dict(self._random)
        if made._random:
            made._random["generator"] = torch.Generator("cpu").manual_seed(brief.seed + 1)
        made.brief, made.trunk, made._anchor = brief, False, anchor_of(brief)
        made.wishes, made.told = wishes, []
        return made

    def inputs(self) -> tuple[Tensor, Tensor]:
        """The latent as the denoiser takes it (1, C, h, w), and the timestep ()."""
        t = self.scheduler.timesteps[self.done]
        scale = getattr(self.scheduler, "scale_model_input", None)  # flow matching has none
        return (self.latents if scale is None else scale(self.latents, t)), t

    def advance(self, answers: Tensor, look: bool = False) -> None:
        """Take one step with the denoiser's answers (rows, C, h, w). `look`: keep what they take the latent for, as `clean`."""
        said = sum(kind.weight * answers[n : n + 1] for n, kind in enumerate(self.kinds))
        if self.done == self._anchor > 0:
            now = mixture(self.scheduler, self.done)
            clean, noise, self._alone = self._pipeline._anchored(self.brief, now.clean(self.latents[0], said[0]))
            self.latents, said = now.latents(clean, noise)[None], now.target(clean, noise)[None]
        t = self.scheduler.timesteps[self.done]
        self.clean = mixture(self.scheduler, self.done).clean(self.latents[0], said[0]) if look else None
        self.latents = self.scheduler.step(said, t, self.latents, **self._random, return_dict=False)[0]
        self.done += 1
