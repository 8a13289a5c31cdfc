"""Recipe 2: the VLM's vision tower, pre-trained on titles and looks. Knows nothing about generation.

Contrastive (CLIP, arXiv:2103.00020) on covers and white-ground references with their titles in the dual encoder's space, and an
in-batch softmax over covers for simulated users whose embedding is the normalised mean of covers they engaged with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from icg.data import tastes
from icg.data.art import CATEGORIES, Subject
from icg.data.bank import Bank
from icg.models.dual import WIDTH
from icg.train.loop import Fit, train
from icg.train.starter.autoencoder import to_tensor
from icg.train.starter.tokenizer import variation

Titles = Callable[[list[str]], Tensor]
"""Titles -> (N, 64) unit rows."""


@dataclass(frozen=True)
class VisionConfig:
    """A plain ViT: `side` pixels in `patch` patches."""

    width: int = 160
    layers: int = 5
    heads: int = 4
    mlp: int = 480
    patch: int = 16
    side: int = 96


class Joint(nn.Module):
    """Vision tower and, for training only, its heads."""

    def __init__(self, vision: CLIPVisionModel) -> None:
        super().__init__()
        self.vision = vision
        width = 2 * vision.config.hidden_size
        self.image_out, self.cover_out = head(width, 256), head(width, 256)
        self.log_scale = nn.Parameter(torch.tensor([2.7, 2.0]))
        self.looks = nn.ModuleList(nn.Linear(WIDTH, size) for size in tastes.SIZES)
        """Probes that keep style, palette, backdrop, framing and theme readable in cover embeddings."""


def build(config: VisionConfig = VisionConfig()) -> Joint:
    """A new vision tower and heads."""
    vision = CLIPVisionConfig(
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.mlp,
        patch_size=config.patch,
        image_size=config.side,
    )
    return Joint(CLIPVisionModel(vision))


def run(
    folder: Path,
    subjects: list[Subject],
    bank: Bank,
    references: np.ndarray,
    titles: Titles,
    fit: Fit,
    config: VisionConfig = VisionConfig(),
    until: int | None = None,
) -> Joint:
    """Train on the bank, whose covers have the tower's size (S, S, 3), and on `references` (subjects, styles, S, S, 3) uint8.

    `titles` is the dual encoder's.
    """
    torch.manual_seed(fit.seed)
    model = build(config)
    text = torch.stack([titles([variation(s.title, n) for s in subjects]) for n in range(10)])
    category = np.array([CATEGORIES.index(s.category) for s in subjects])
    by_subject, classes = rows_by_subject(bank), np.unique(bank.subject)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        chosen = rng.permutation(len(by_subject))[: fit.batch]
        rows = np.array([rng.choice(by_subject[i]) for i in chosen])
        subject = bank.subject[rows]
        extra = rng.permutation(len(rows))[: len(rows) // 3]
        white = references[subject[extra], rng.integers(0, references.shape[1], len(extra))]
        pooled = pool(model.vision, to_tensor(np.concatenate([bank.images[rows], white])))
        own_titles = text[torch.as_tensor(rng.integers(0, 10, len(classes))), torch.as_tensor(classes)]
        image = F.normalize(model.image_out(pooled), dim=-1)
        scale = model.log_scale.clamp(max=4.0).exp()
        clip = contrast(image[: len(rows)], own_titles, chosen, scale[0])
        clip_white = contrast(image[len(rows) :], own_titles, chosen[extra], scale[0])
        covers = F.normalize(model.cover_out(pooled[: len(rows)]), dim=-1)
        prefer = preference_loss(covers, bank.look[rows], category[subject], scale[1], rng)
        codes = torch.as_tensor(np.concatenate([bank.look[rows], category[subject, None]], 1)).long()
        look = sum(F.cross_entropy(probe(8 * covers), codes[:, i]) for i, probe in enumerate(model.looks)) / 5
        parts = {"clip": clip, "clip_white": clip_white, "prefer": prefer, "look": look}
        return {"loss": clip + 0.5 * clip_white + prefer + look, **parts}

    train(folder, model, fit, step, config, until)
    return model.eval()


def contrast(image: Tensor, text: Tensor, match: np.ndarray, scale: Tensor) -> Tensor:
    """Each image (B, 64) against the titles of all training subjects (C, 64); `match` (B,): the index of its title."""
    return F.cross_entropy(scale * image @ text.T, torch.as_tensor(match))


def preference_loss(
    covers: Tensor, look: np.ndarray, category: np.ndarray, scale: Tensor, rng: np.random.Generator, users: int = 128
) -> Tensor:
    """Half of the batch are covers that simulated users engaged with, the other half are the candidates."""
    people = tastes.sample(users, rng)
    utility = people.utility(look, category)
    half = len(look) // 2
    picked = tastes.engaged(utility[:, :half], min(int(rng.integers(2, 9)), half), rng)
    user = F.normalize(covers[:half][torch.as_tensor(picked)].mean(1), dim=-1)
    target = torch.softmax(torch.as_tensor(utility[:, half:] / 0.5, dtype=torch.float32), -1)
    entropy = torch.distributions.Categorical(target).entropy().mean()
    return F.cross_entropy(scale * user @ covers[half:].T, target) - entropy


def pool(vision: nn.Module, pixels: Tensor) -> Tensor:
    """pixels (B, 3, S, S) in [-1, 1] -> (B, 2 D): the class token and the mean of the patches."""
    hidden = vision(pixel_values=pixels).last_hidden_state
    return torch.cat([hidden[:, 0], hidden[:, 1:].mean(1)], -1)


def rows_by_subject(bank: Bank) -> list[np.ndarray]:
    order = np.argsort(bank.subject, kind="stable")
    _, starts = np.unique(bank.subject[order], return_index=True)
    return np.split(order, starts[1:])


def head(width: int, hidden: int) -> nn.Sequential:
    """Features (B, width) -> (B, 64)."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, WIDTH))
