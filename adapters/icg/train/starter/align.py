"""Recipe 5: meta tokens learn to carry the item. Meta tokens and connector name the subject of a prompt.

Without it the denoiser, which reduces its loss faster with the user than with the item, learns to ignore the title: after 1,000 steps of
joint training the title changed the conditioning 1,600 times less than the user did.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.adapter.model import IcgAdapter
from icg.data.bank import AXES, Bank
from icg.train.loop import Fit, train
from icg.train.starter.prefixes import TITLE_ONLY, Prefixes
from icg.train.starter.simulated_users import Crowd


class SubjectNamer(nn.Module):
    """The adapter, with classifiers of subject and look on its mean output, for training only."""

    def __init__(self, adapter: IcgAdapter, subjects: int) -> None:
        super().__init__()
        self.adapter, self.name = adapter, nn.Linear(adapter.config.caption, subjects)
        self.looks = nn.ModuleList(nn.Linear(adapter.config.caption, len(axis)) for axis in AXES)

    def loss(self, embeds: Tensor, subject: Tensor) -> Tensor:
        """embeds (B, M, W), subject (B,) -> cross-entropy."""
        return F.cross_entropy(self.name(embeds.mean(1)), subject)

    def taste(self, embeds: Tensor, look: Tensor) -> Tensor:
        """embeds (B, M, W), look (B, 4) -> mean cross-entropy of style, palette, backdrop and framing."""
        mean = embeds.mean(1)
        return torch.stack([F.cross_entropy(probe(mean), look[:, i]) for i, probe in enumerate(self.looks)]).mean()


def draw_prompts(
    count: int, subjects: int, prefixes: Prefixes, title_rate: float, reference_rate: float, rng: np.random.Generator
) -> tuple:
    """(subject, reference, whether with a title), each (count,): never a prompt without both."""
    subject = rng.integers(0, subjects, count)
    reference = rng.integers(0, prefixes.references, count)
    with_title = rng.random(count) < title_rate
    title_only = with_title & (rng.random(count) >= reference_rate)
    return subject, np.where(title_only, TITLE_ONLY, reference), with_title


def run(
    folder: Path, adapter: IcgAdapter, prefixes: Prefixes, subjects: int, fit: Fit, until: int | None = None
) -> SubjectNamer:
    """Train, then set the adapter's centre and spread."""
    torch.manual_seed(fit.seed)
    model = SubjectNamer(adapter, subjects)
    meta = adapter.meta_tokens.weight
    with torch.no_grad():
        adapter.standardise(prefixes.read(meta, np.arange(min(512, len(prefixes.mask)))))

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        subject, reference, with_title = draw_prompts(fit.batch, subjects, prefixes, 0.7, 0.5, rng)
        items = adapter.standard(prefixes.read(meta, prefixes.row(subject, reference, with_title)))
        embeds, _ = adapter(items, torch.zeros(len(items), adapter.config.user))
        target = torch.as_tensor(subject)
        right = (model.name(embeds.mean(1)).argmax(-1) == target).float()
        titled = torch.as_tensor(with_title)
        parts = {"right_titled": right[titled].mean(), "right_shown": right[~titled].mean()}
        return {"loss": model.loss(embeds, target), **parts}

    train(folder, model, fit, step, until=until)
    return model


def users(
    folder: Path,
    model: SubjectNamer,
    items: Tensor,
    prefixes: Prefixes,
    bank: Bank,
    crowd: Crowd,
    fit: Fit,
    until: int | None = None,
) -> None:
    """Refiner and connector learn to carry the user too: predict subject and look from item and SIMULATED user."""
    model.adapter.meta_tokens.requires_grad_(False)
    count = len(np.unique(bank.subject))

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        subject, reference, with_title = draw_prompts(fit.batch, count, prefixes, 0.9, 0.6, rng)
        look = bank.look[rng.integers(0, len(bank), fit.batch)]
        people = torch.as_tensor(crowd.draw(look, np.full(fit.batch, -1), 0.88, rng))
        item = items[torch.as_tensor(prefixes.row(subject, reference, with_title))].float()
        embeds, _ = model.adapter(item, people)
        name = model.loss(embeds, torch.as_tensor(subject))
        taste = model.taste(embeds, torch.as_tensor(look).long())
        return {"loss": name + 2 * taste, "name": name, "taste": taste}

    train(folder, model, fit, step, until=until)
    model.adapter.meta_tokens.requires_grad_(True)


@torch.no_grad()
def table(adapter: IcgAdapter, prefixes: Prefixes, batch: int = 256) -> Tensor:
    """Standardised hidden states of every prompt, (N, M, D_vlm) float16; also sets centre and spread from them."""
    rows = np.arange(len(prefixes.mask))
    batches = [prefixes.read(adapter.meta_tokens.weight, rows[i : i + batch]) for i in range(0, len(rows), batch)]
    hidden = torch.cat(batches)
    adapter.standardise(hidden)
    return adapter.standard(hidden).half()
