"""Training the user encoder, and with it the preference model, from behaviour alone.

After each prefix of a user's events the next cover they engage with must win against what others engaged with (softmax over the
batch, corrected for how often each is shown, arXiv:1906.00091's logQ) and against the covers of the same list they passed over.
Who clicks low in a list looked further: positives weigh by the inverse of their position's examination, passed-over covers
by the examination itself. Knows no catalogue and no service.
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

ASKED = 8
"""Questions a window."""


def loss_of(
    encoder: UserEncoder, given: NextCovers, last: np.ndarray, covers: np.ndarray, exposure: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Tensor]:  # fmt: skip
    """The loss of questions `last` (B,) and of others in the same windows: covers (N, D) unit, exposure (N,) shares."""
    who, end = given.who[last], given.known[last]
    begin = np.maximum(end - WINDOW, 0)
    key = given.who * len(given.events) + given.known
    first = np.searchsorted(key, who * len(given.events) + begin)
    asked = np.concatenate([last[:, None], rng.integers(first[:, None], last[:, None] + 1, (len(last), ASKED - 1))], 1)
    carried = encoder.carry(given.history(who, begin, covers, 2 * WINDOW))
    after = encoder(given.history(who, end, covers), carried)
    users = after[torch.arange(len(last))[:, None], torch.as_tensor(given.known[asked] - begin[:, None])].flatten(0, 1)
    rows, who = asked.ravel(), who.repeat(ASKED)
    scale = encoder.log_scale.clamp(max=4.0).exp()
    chosen = given.chosen[rows]
    wanted = torch.as_tensor(covers[chosen])
    logits = scale * users @ wanted.T - torch.as_tensor(np.log(exposure[chosen])).float()
    same = torch.as_tensor((chosen[:, None] == chosen) | (who[:, None] == who))
    logits = logits.masked_fill(same & ~torch.eye(len(rows), dtype=torch.bool), -torch.inf)
    weight = torch.as_tensor(given.weight[rows])
    batch = (weight * F.cross_entropy(logits, torch.arange(len(rows)), reduction="none")).mean()
    passed = torch.as_tensor(covers[given.passed[rows]])  # (B, PASSED, D)
    margin = scale * ((users * wanted).sum(-1, keepdim=True) - (passed @ users[..., None])[..., 0])
    looked = torch.as_tensor(given.examined[rows])
    pairs = (weight[:, None] * looked * F.softplus(-margin)).sum() / looked.sum().clamp(min=1)
    right = (looked * (margin > 0)).sum() / looked.sum().clamp(min=1)
    return {"loss": batch + pairs, "batch": batch, "passed": pairs, "pairwise": right}


def run(
    folder: Path, log: Log, covers: np.ndarray, fit: Fit, config: UserConfig | None = None, until: int | None = None
) -> UserEncoder:
    """Train on a log whose covers are rows of `covers` (N, D), unit vectors."""
    torch.manual_seed(fit.seed)
    encoder = UserEncoder(config or UserConfig())
    given = examples(log, np.random.default_rng(fit.seed))
    exposure = log.exposure(len(covers))

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        return loss_of(encoder, given, rng.integers(0, len(given.who), fit.batch), covers, exposure, rng)

    train(folder, encoder, fit, step, encoder.config, until)
    return encoder.eval()
