"""Items and users into the conditions of samplers, those of many in one call of the adapter: one row costs as much as four.

The same for library and service; the service asks for rows that are bit by bit as in a call of their own. Knows no queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from icg.draw.sampler import Condition, Sampler, guidance_weights
from icg.models.batch_exactness import Agreement, steady

LIMIT = 16
"""Conditions in one call of the adapter at most."""
Adapter = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]


class Conditioner:
    """Encodes conditions with an `icg.adapter.model.IcgAdapter`, which must not change while this is in use.

    exact: conditions are bit by bit as in a call of their own, on a CPU.
    """

    def __init__(self, adapter: torch.nn.Module, exact: bool = False) -> None:
        if exact:
            steady(adapter)
        self._adapter: Adapter = adapter
        self.nothing = Condition(*adapter.unconditional(1))  # type: ignore[operator]
        self._agreement = Agreement(partial(_trial, adapter), LIMIT, exact)

    def __call__(self, samplers: Sequence[Sampler]) -> None:
        """Give those of these samplers that have none yet their conditions: for nothing, item, item with user."""
        new = [sampler for sampler in samplers if not sampler.conditions]
        inputs = [
            (sampler, part, item, user, strength)
            for sampler in new
            for part, item, user, strength in (
                (0, sampler.avoid, torch.zeros_like(sampler.user), 1.0),
                (1, sampler.item, torch.zeros_like(sampler.user), 1.0),
                (2, sampler.item, sampler.user, float(sampler.brief.strength)),
            )
            if item is not None and _counts(sampler, part)
        ]
        encoded = self._encoded([(item, user, strength) for _, _, item, user, strength in inputs])
        results = {(sampler, part): c for (sampler, part, *_), c in zip(inputs, encoded, strict=True)}
        for sampler in new:
            nothing = results.get((sampler, 0), self.nothing)
            sampler.conditions = (nothing, results.get((sampler, 1)), results.get((sampler, 2)))

    def _encoded(self, inputs: Sequence[tuple[Tensor, Tensor, float]]) -> list[Condition]:
        done, conditions = 0, list[Condition]()
        for count in self._agreement.parts(len(inputs)):
            items, users, strengths = zip(*inputs[done : done + count], strict=True)
            embeds, pooled = self._adapter(torch.cat(items), torch.cat(users), users[0].new_tensor(strengths))
            conditions += map(Condition, embeds.split(1), [None] * count if pooled is None else pooled.split(1))
            done += count
        return conditions


def _counts(sampler: Sampler, part: int) -> bool:
    """Whether the prediction for this part of the weights is used in any step."""
    return any(guidance_weights(sampler.brief, step)[part] for step in range(sampler.total))


def _trial(adapter: torch.nn.Module, part: slice) -> Tensor:
    """A call of the adapter on some of LIMIT random rows."""
    random = torch.Generator("cpu").manual_seed(0)
    nothing: Tensor = adapter.nothing  # type: ignore[assignment]
    items = torch.randn((LIMIT, *nothing.shape), generator=random).to(nothing)
    users = torch.randn((LIMIT, adapter.config.user), generator=random).to(nothing)  # type: ignore[union-attr, arg-type]
    embeds: Tensor = adapter(items[part], users[part])[0]
    return embeds
