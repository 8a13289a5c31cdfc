"""Recipe 3: the preference space, on the autoencoder's latents.

An in-batch softmax over covers for SIMULATED users whose embedding is the normalised mean of covers they engaged with, and probes
that keep the look readable. Knows nothing about generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.data import tastes
from icg.data.art import CATEGORIES, Subject
from icg.data.bank import Bank
from icg.models.dual import WIDTH
from icg.models.joint import CoverConfig, CoverHead
from icg.train.loop import Fit, train
from icg.train.starter.joint import preference_loss, rows_by_subject


@dataclass(frozen=True)
class EmbeddingConfig:
    """Widths; `noise` on the latents prepares for generated covers, which differ a little from composed ones."""

    tower: int = 96
    vision: int = 160
    hidden: int = 128
    noise: float = 0.2


class CoverReader(nn.Module):
    """The head, with linear probes of each axis of taste for training only."""

    def __init__(self, channels: int, config: EmbeddingConfig) -> None:
        super().__init__()
        self.head = CoverHead(CoverConfig(channels, config.vision, config.hidden, config.tower))
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        self.looks = nn.ModuleList(nn.Linear(WIDTH, size) for size in tastes.SIZES)


def run(
    folder: Path,
    subjects: list[Subject],
    bank: Bank,
    latents: Tensor,
    fit: Fit,
    config: EmbeddingConfig,
    until: int | None = None,
) -> CoverHead:
    """latents (N, C, h, w) of the bank's covers at `icg.models.joint.SIDE` pixels, at unit deviation."""
    torch.manual_seed(fit.seed)
    model = CoverReader(latents.shape[1], config)
    category = np.array([CATEGORIES.index(s.category) for s in subjects])
    by_subject = rows_by_subject(bank)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        chosen = rng.permutation(len(by_subject))[: fit.batch]
        rows = np.array([rng.choice(by_subject[i]) for i in chosen])
        subject = bank.subject[rows]
        z = latents[torch.as_tensor(rows)].float()
        noise = config.noise * torch.rand(len(z), 1, 1, 1) * torch.randn_like(z)
        covers = model.head.covers(model.head.tower(z + noise))
        prefer = preference_loss(covers, bank.look[rows], category[subject], model.log_scale.clamp(max=4.0).exp(), rng)
        codes = torch.as_tensor(np.concatenate([bank.look[rows], category[subject, None]], 1)).long()
        look = sum(F.cross_entropy(probe(8 * covers), codes[:, i]) for i, probe in enumerate(model.looks)) / 5
        return {"loss": prefer + look, "prefer": prefer, "look": look}

    train(folder, model, fit, step, config, until)
    return model.head.eval()


@torch.no_grad()
def embed(head: CoverHead, latents: Tensor, batch: int = 256) -> np.ndarray:
    """latents (N, C, h, w) -> cover embeddings (N, 64)."""
    return torch.cat([head.covers(head.tower(part.float())) for part in latents.split(batch)]).numpy()
