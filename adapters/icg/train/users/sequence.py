"""Training of the sequence encoder: which item a user wants next, by softmax over sampled items. Knows no catalogue and no service.

eSASRec's finding (arXiv:2508.06450): many negatives under a softmax in place of SASRec's one under a sigmoid. The item to predict is one
of the next `horizon`, since the order of events within one visit says little (PinnerFormer, arXiv:2205.04507).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icg.data.interactions import Interactions
from icg.evaluate.ranking import Scorer
from icg.train.loop import Fit, train
from icg.users.sequence import Content, SequenceConfig, SequenceEncoder, Window


@dataclass(frozen=True)
class Recipe:
    """loss: "softmax", or "bce" as SASRec had it. negatives: items drawn uniformly for a batch, 0 for all. horizon: as above.
    forget: share of items whose learned vector is left out of a step, so that content learns to rank without it. strength: as in `begin`;
    0 begins with random vectors."""

    loss: str = "softmax"
    negatives: int = 512
    horizon: int = 5
    forget: float = 0.2
    smoothing: float = 0.0
    strength: float = 12.0


@dataclass(frozen=True)
class Setup:
    """What is trained and how, as it is saved beside the weights."""

    model: SequenceConfig
    recipe: Recipe = Recipe()


@torch.no_grad()
def begin(encoder: SequenceEncoder, known: Interactions, strength: float) -> None:
    """Learned parts of items begin as the singular vectors of the users x items table, of root mean square `strength` / width, and biases
    as popularity: from random numbers many epochs pass until items that are liked together are near one another.

    The table is normalised by the square roots of degrees, smoothed, so that neither popular items nor busy users rule it.
    """
    encoder.warm.copy_(torch.as_tensor(known.popularity() > 0))
    popularity = torch.as_tensor(known.popularity(), dtype=torch.float32)
    encoder.bias.copy_(torch.log1p(popularity))
    user, item = (torch.as_tensor(column) for column in known.pairs())
    width = min(encoder.config.width, known.users, known.items)
    if not strength or not len(user):
        return
    activity = torch.bincount(user, minlength=known.users)
    values = ((activity[user] + 10.0) * (popularity[item] + 5.0)).rsqrt()
    table = torch.sparse_coo_tensor(
        torch.stack([item, user]), values, (known.items, known.users), check_invariants=True
    )
    items, sizes, _ = torch.svd_lowrank(table.coalesce(), q=width, niter=4)
    rows = items * sizes
    spread = rows[encoder.warm > 0].square().mean().sqrt().clamp(min=1e-12)
    encoder.free.weight.zero_()
    encoder.free.weight[:, :width] = rows * (strength / encoder.config.width / spread)


class Histories:
    """Windows of users' events, and the wanted events after each."""

    def __init__(self, table: Interactions, window: int) -> None:
        self.table, self.window, self.start = table, window, table.start
        self.positive = np.flatnonzero(table.positive)
        self.after = np.searchsorted(self.positive, np.arange(len(table) + 1))
        """Of row r: the first of `wanted` that is not before it."""
        self.trained = np.flatnonzero(np.bincount(table.user[self.positive], minlength=table.users) >= 1)

    def read(self, users: np.ndarray, ends: np.ndarray) -> tuple[Window, np.ndarray]:
        """The latest events before rows `ends` (B,) of users (B,), and the first row of each window."""
        first = np.maximum(self.start[users], ends - self.window)
        length = ends - first
        width = max(1, int(length.max(initial=0)))
        inside = np.arange(width) < length[:, None]
        rows = np.where(inside, first[:, None] + np.arange(width), 0)
        if not len(self.table):
            nothing = np.zeros((len(users), width), np.int64)
            return Window.of(nothing, nothing, nothing, length), first
        time = np.where(inside, self.table.time[rows], self.table.time[rows].max(1, keepdims=True))
        return Window.of(self.table.item[rows] * inside, self.table.action[rows] * inside, time, length), first

    def next(
        self, users: np.ndarray, first: np.ndarray, width: int, horizon: int, rng: np.random.Generator
    ) -> np.ndarray:
        """(B, width + 1) the item wanted after 0..width events of each window, sample from the next `horizon`; -1 where there is none."""
        row = first[:, None] + np.arange(width + 1)
        end = self.start[users + 1][:, None]
        begin = self.after[np.minimum(row, end)]
        left = np.minimum(self.after[end] - begin, horizon)
        pick = begin + (rng.random(row.shape) * left).astype(np.int64)
        real = (left > 0) & (row <= end)
        return np.where(real, self.table.item[self.positive[np.where(real, pick, 0)]], -1)


def loss_of(
    encoder: SequenceEncoder, histories: Histories, recipe: Recipe, batch: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """The loss of `batch` random windows."""
    users = rng.choice(histories.trained, batch)
    begin, end = histories.start[users], histories.start[users + 1]
    # Half of the windows end with the user's last event, as when the user is ranked for.
    ends = np.where(rng.random(batch) < 0.5, end, begin + 1 + (rng.random(batch) * (end - begin)).astype(np.int64))
    window, first = histories.read(users, ends)
    target = torch.as_tensor(histories.next(users, first, window.item.shape[1], recipe.horizon, rng))
    keep = torch.as_tensor((rng.random(encoder.config.items) >= recipe.forget).astype(np.float32))
    items = encoder.items(keep if encoder.config.content else None)
    real = target >= 0
    states, target = encoder(window, items)[real], target[real]
    bias = encoder.bias * encoder.warm
    positive = (states * items[target]).sum(-1) + bias[target]
    if recipe.loss == "bce":
        other = torch.as_tensor(rng.integers(0, encoder.config.items, (len(target), max(recipe.negatives, 1))))
        negative = (items[other] @ states[..., None])[..., 0] + bias[other]
        loss = F.softplus(-positive).mean() + F.softplus(negative).mean()
    elif recipe.negatives and recipe.negatives < encoder.config.items:
        sample = torch.as_tensor(rng.choice(encoder.config.items, recipe.negatives, replace=False))
        others = states @ items[sample].T + bias[sample] + np.log(encoder.config.items / recipe.negatives)
        others = others.masked_fill(sample == target[:, None], -torch.inf)
        loss = (torch.logsumexp(torch.cat([positive[:, None], others], 1), 1) - positive).mean()
    else:
        loss = F.cross_entropy(encoder.scores(states, items), target, label_smoothing=recipe.smoothing)
    return {"loss": loss}


def run(
    folder: Path,
    known: Interactions,
    content: Content | None,
    fit: Fit,
    setup: Setup,
    until: int | None = None,
    quiet: bool = False,
) -> SequenceEncoder:
    """Train on the events of `known`; resumes from `folder`. Content is needed if the model has it."""
    torch.manual_seed(fit.seed)
    encoder = SequenceEncoder(setup.model, content)
    begin(encoder, known, setup.recipe.strength)
    histories = Histories(known, setup.model.window)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        return loss_of(encoder, histories, setup.recipe, fit.batch, rng)

    train(folder, encoder.train(), fit, step, setup, until, quiet=quiet)
    return encoder.eval()


def scorer(encoder: SequenceEncoder, known: Interactions) -> Scorer:
    """Scores after all that a user is known to have done."""
    histories = Histories(known, encoder.config.window)

    def score(users: np.ndarray) -> np.ndarray:
        return encoder.rank(histories.read(users, histories.start[users + 1])[0])

    return score
