"""Training the user encoder, and with it the preference model, from behaviour alone.

After each prefix of a user's events the next cover they engage with must win against what others engaged with (softmax over the
batch, corrected for how often each is shown, arXiv:1906.00091's logQ) and against the covers of the same list they passed over.
Who clicks low in a list looked further: positives weigh by the inverse of their position's examination, passed-over covers
by the examination itself. Knows no catalogue and no service.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icg.data.behaviour import ENGAGED, IMPRESSION, Log
from icg.train.loop import Fit, train
from icg.users.encoder import WINDOW, Events, UserConfig, UserEncoder

PASSED = 4
"""Covers passed over that a question remembers, of one list."""
ASKED = 8
"""Questions a window."""


@dataclass(frozen=True)
class Examples:
    """Histories of the log's users (U rows, events oldest first) and Q questions about them.

    who (Q,) row, known (Q,) events before the list, chosen (Q,) cover, weight (Q,), passed (Q, PASSED) covers of the list
    that were not engaged with, -1 for none, examined (Q, PASSED) how likely each was looked at.
    """

    events: Log
    start: np.ndarray
    who: np.ndarray
    known: np.ndarray
    chosen: np.ndarray
    weight: np.ndarray
    passed: np.ndarray
    examined: np.ndarray

    def history(self, rows: np.ndarray, known: np.ndarray, covers: np.ndarray, window: int = WINDOW) -> Events:
        """The latest `window` of the first `known` (B,) events of users `rows` (B,); covers (N, D) embeddings."""
        length = np.minimum(known, window)
        width = max(1, int(length.max(initial=0)))
        place = (self.start[rows] + known - length)[:, None] + np.arange(width)
        inside = np.arange(width) < length[:, None]
        place = np.where(inside, place, 0).clip(0, max(len(self.events) - 1, 0))
        e = self.events
        time = np.where(inside, e.time[place], e.time[place].max(1, keepdims=True))
        return Events.of(covers[e.cover[place]], e.action[place] * inside, e.dwell_ms[place] * inside, time, length)


def examples(log: Log, rng: np.random.Generator) -> Examples:
    """Every list with an engagement is a question about the events before it."""
    events = log.take(log.action != IMPRESSION)
    users = int(log.user.max()) + 1
    start = np.searchsorted(events.user, np.arange(users + 1))
    looked = log.examination()
    positive = np.flatnonzero(np.isin(log.action, ENGAGED))
    pairs = log.shown[positive] * (log.cover.max() + 1) + log.cover[positive]
    positive = positive[np.unique(pairs, return_index=True)[1]]
    first = {}
    for row in range(len(events) - 1, -1, -1):
        first[int(events.shown[row])] = row
    known = np.array([first[int(s)] for s in log.shown[positive]]) - start[log.user[positive]]
    order = np.lexsort((known, log.user[positive]))  # lists may overlap in time
    positive, known = positive[order], known[order]
    lists = log.shown[positive].tolist()
    engaged = set(zip(lists, log.cover[positive].tolist(), strict=True))
    passed: dict[int, list[tuple[int, float]]] = {}
    shown = log.take(log.action == IMPRESSION)
    for s, c, k in zip(shown.shown.tolist(), shown.cover.tolist(), shown.position.tolist(), strict=True):
        if (s, c) not in engaged:
            passed.setdefault(s, []).append((c, looked[k]))
    others = np.full((len(positive), PASSED), -1)
    examined = np.zeros((len(positive), PASSED), np.float32)
    for q, s in enumerate(lists):
        of_list = passed.get(s, [])
        for n, i in enumerate(rng.permutation(len(of_list))[:PASSED]):
            others[q, n], examined[q, n] = of_list[i]
    weight = (1 / looked[log.position[positive]]).astype(np.float32)
    return Examples(
        events, start, log.user[positive], known, log.cover[positive], weight / weight.mean(), others, examined
    )


def loss_of(
    encoder: UserEncoder, given: Examples, last: np.ndarray, covers: np.ndarray, exposure: np.ndarray,
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


def embeddings(
    encoder: UserEncoder, given: Examples, users: np.ndarray, known: np.ndarray, covers: np.ndarray
) -> np.ndarray:
    """(B, D) embeddings of users (B,) after their first `known` (B,) events; older ones than the window are carried."""
    out = []
    for i in range(0, len(users), 512):
        who, count = users[i : i + 512], known[i : i + 512]
        older = np.maximum(count - WINDOW, 0)
        with torch.inference_mode():
            carried = encoder.carry(given.history(who, older, covers, int(older.max(initial=0))))
        out.append(encoder.encode(given.history(who, count, covers), carried).numpy())
    return np.concatenate(out)
