"""Training of the user encoder, and with it of preference, from behaviour alone.

After each prefix of a user's events, the next cover they engage with must win against other users' covers (softmax over the batch,
corrected for exposure, arXiv:1906.00091's logQ) and against the covers of the same list that they passed over. A click low in a list means
that the user looked further: positives have the inverse of their position's examination as weight, passed-over covers the examination
itself. Knows no catalogue and no service.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icg.data.behaviour import Log
from icg.train.loop import Fit, train
from icg.users.encoder import WINDOW, UserConfig, UserEncoder
from icg.users.examples import NextCovers, examples

QUESTIONS = 8
"""Examples of a window."""


def loss_of(
    encoder: UserEncoder,
    histories: NextCovers,
    last: np.ndarray,
    covers: np.ndarray,
    exposure: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """The loss of examples `last` (B,) and of others in the same windows: covers (N, D) unit, exposure (N,) shares."""
    users, end = histories.user[last], histories.length[last]
    begin = np.maximum(end - WINDOW, 0)
    key = histories.user * len(histories.events) + histories.length
    first = np.searchsorted(key, users * len(histories.events) + begin)
    others = rng.integers(first[:, None], last[:, None] + 1, (len(last), QUESTIONS - 1))
    questions = np.concatenate([last[:, None], others], 1)
    carried = encoder.carry(histories.history(users, begin, covers, 2 * WINDOW))
    after = encoder(histories.history(users, end, covers), carried)
    step = torch.as_tensor(histories.length[questions] - begin[:, None])
    embeddings = after[torch.arange(len(last))[:, None], step].flatten(0, 1)
    rows, owners = questions.ravel(), users.repeat(QUESTIONS)
    scale = encoder.log_scale.clamp(max=4.0).exp()
    chosen = histories.chosen[rows]
    positive = torch.as_tensor(covers[chosen])
    logits = scale * embeddings @ positive.T - torch.as_tensor(np.log(exposure[chosen])).float()
    same = torch.as_tensor((chosen[:, None] == chosen) | (owners[:, None] == owners))
    logits = logits.masked_fill(same & ~torch.eye(len(rows), dtype=torch.bool), -torch.inf)
    weight = torch.as_tensor(histories.weight[rows])
    batch = (weight * F.cross_entropy(logits, torch.arange(len(rows)), reduction="none")).mean()
    passed = torch.as_tensor(covers[histories.passed[rows]])  # (B, PASSED, D)
    margin = scale * ((embeddings * positive).sum(-1, keepdim=True) - (passed @ embeddings[..., None])[..., 0])
    examined = torch.as_tensor(histories.examined[rows])
    pairs = (weight[:, None] * examined * F.softplus(-margin)).sum() / examined.sum().clamp(min=1)
    right = (examined * (margin > 0)).sum() / examined.sum().clamp(min=1)
    return {"loss": batch + pairs, "batch": batch, "passed": pairs, "pairwise": right}


def run(
    folder: Path, log: Log, covers: np.ndarray, fit: Fit, config: UserConfig | None = None, until: int | None = None
) -> UserEncoder:
    """Train on a log whose covers are rows of `covers` (N, D), unit vectors."""
    torch.manual_seed(fit.seed)
    encoder = UserEncoder(config or UserConfig())
    histories = examples(log, np.random.default_rng(fit.seed))
    exposure = log.exposure(len(covers))

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        return loss_of(encoder, histories, rng.integers(0, len(histories.user), fit.batch), covers, exposure, rng)

    train(folder, encoder, fit, step, encoder.config, until)
    return encoder.eval()
