"""Recipe 3: the joint image/title space and the preference space, on the autoencoder's latents.

Every picture against all training titles (InfoNCE, arXiv:2103.00020), an in-batch softmax over covers for SIMULATED
users whose embedding is the normalised mean of covers they engaged with, and probes that keep the look readable.
Knows nothing about generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.data import tastes
from icg.data.art import CATEGORIES, Subject
from icg.data.bank import Bank
from icg.embedding import WIDTH, JointConfig, JointHeads
from icg.train.joint import contrast, preference_loss, rows_by_subject
from icg.train.loop import Fit, train
from icg.train.titles import variation


@dataclass(frozen=True)
class EmbeddingConfig:
    """Widths; `noise` is added to latents so that generated covers, a little off, are read well."""

    tower: int = 96
    vision: int = 160
    text: int = 128
    text_layers: int = 1
    hidden: int = 128
    noise: float = 0.2


class Reader(nn.Module):
    """The heads and, for training only, linear probes of each axis of taste."""

    def __init__(self, vocab: int, channels: int, config: EmbeddingConfig) -> None:
        super().__init__()
        sizes = {"vision": config.vision, "text": config.text, "text_layers": config.text_layers}
        more = {"hidden": config.hidden, "tower": config.tower, "latent": channels}
        self.heads = JointHeads(JointConfig(vocab=vocab, **sizes, **more))
        self.looks = nn.ModuleList(nn.Linear(WIDTH, size) for size in tastes.SIZES)


def run(
    folder: Path, subjects: list[Subject], bank: Bank, latents: Tensor, white: Tensor, tokenizer: Any, fit: Fit,
    config: EmbeddingConfig, until: int | None = None,
) -> JointHeads:  # fmt: skip
    """latents (N, C, h, w) of the bank and `white` (subjects, styles, C, h, w) of references, at unit deviation."""
    torch.manual_seed(fit.seed)
    model = Reader(len(tokenizer), latents.shape[1], config)
    category = np.array([CATEGORIES.index(s.category) for s in subjects])
    by_subject, classes = rows_by_subject(bank), np.unique(bank.subject)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        chosen = rng.permutation(len(by_subject))[: fit.batch]
        rows = np.array([rng.choice(by_subject[i]) for i in chosen])
        who = bank.subject[rows]
        extra = rng.permutation(len(rows))[: len(rows) // 4]
        shown = white[torch.as_tensor(who[extra]), torch.as_tensor(rng.integers(0, white.shape[1], len(extra)))]
        z = torch.cat([latents[torch.as_tensor(rows)], shown]).float()
        features = model.heads.tower(z + config.noise * torch.rand(len(z), 1, 1, 1) * torch.randn_like(z))
        words = [variation(subjects[i].title, int(rng.integers(0, 10))) for i in classes]
        batch = tokenizer(words, return_tensors="pt", padding=True, truncation=True, max_length=24)
        text = model.heads.titles(batch["input_ids"], batch["attention_mask"])
        image, covers = model.heads.images(features), model.heads.covers(features[: len(rows)])
        scale = model.heads.log_scale.clamp(max=4.0).exp()
        clip = contrast(image, text, np.concatenate([chosen, chosen[extra]]), scale[0])
        prefer = preference_loss(covers, bank.look[rows], category[who], scale[1], rng)
        codes = torch.as_tensor(np.concatenate([bank.look[rows], category[who, None]], 1)).long()
        look = sum(F.cross_entropy(probe(8 * covers), codes[:, i]) for i, probe in enumerate(model.looks)) / 5
        return {"loss": clip + prefer + look, "clip": clip, "prefer": prefer, "look": look}

    train(folder, model, fit, step, config, until)
    return model.heads.eval()


@torch.no_grad()
def embed(heads: JointHeads, latents: Tensor, batch: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """latents (N, C, h, w) -> joint (N, 64) and cover (N, 64) embeddings."""
    features = torch.cat([heads.tower(part.float()) for part in latents.split(batch)])
    return heads.images(features).numpy(), heads.covers(features).numpy()
