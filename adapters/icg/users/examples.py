"""A behaviour log -> its users' histories, and examples of the next cover that each user engaged with. Knows no training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from icg.data.behaviour import ENGAGED, IMPRESSION, Log
from icg.users.encoder import WINDOW, Events, UserEncoder

PASSED = 4
"""Covers of one list that an example has as passed over."""


@dataclass(frozen=True)
class NextCovers:
    """Histories of the log's users (U rows, events oldest first) and Q examples of their next covers.

    user (Q,) row, length (Q,) number of events before the list, chosen (Q,) cover, weight (Q,), passed (Q, PASSED) covers of the
    list without an engagement, -1 for none, examined (Q, PASSED) the probability that the user looked at each.
    """

    events: Log
    start: np.ndarray
    user: np.ndarray
    length: np.ndarray
    chosen: np.ndarray
    weight: np.ndarray
    passed: np.ndarray
    examined: np.ndarray

    def history(self, rows: np.ndarray, lengths: np.ndarray, covers: np.ndarray, window: int = WINDOW) -> Events:
        """The latest `window` of the first `lengths` (B,) events of users `rows` (B,); covers (N, D) embeddings."""
        window_lengths = np.minimum(lengths, window)
        width = max(1, int(window_lengths.max(initial=0)))
        place = (self.start[rows] + lengths - window_lengths)[:, None] + np.arange(width)
        inside = np.arange(width) < window_lengths[:, None]
        place = np.where(inside, place, 0).clip(0, max(len(self.events) - 1, 0))
        e = self.events
        time = np.where(inside, e.time[place], e.time[place].max(1, keepdims=True))
        return Events.of(
            covers[e.cover[place]], e.action[place] * inside, e.dwell_ms[place] * inside, time, window_lengths
        )


def examples(log: Log, rng: np.random.Generator) -> NextCovers:
    """One example for every list with an engagement, from the events before it."""
    events = log.take(log.action != IMPRESSION)
    users = int(log.user.max()) + 1
    start = np.searchsorted(events.user, np.arange(users + 1))
    attention = log.examination()
    positive = np.flatnonzero(np.isin(log.action, ENGAGED))
    pairs = log.shown[positive] * (log.cover.max() + 1) + log.cover[positive]
    positive = positive[np.unique(pairs, return_index=True)[1]]
    first = {}
    for row in range(len(events) - 1, -1, -1):
        first[int(events.shown[row])] = row
    lengths = np.array([first[int(s)] for s in log.shown[positive]]) - start[log.user[positive]]
    order = np.lexsort((lengths, log.user[positive]))  # lists may overlap in time
    positive, lengths = positive[order], lengths[order]
    lists = log.shown[positive].tolist()
    engaged = set(zip(lists, log.cover[positive].tolist(), strict=True))
    passed: dict[int, list[tuple[int, float]]] = {}
    shown = log.take(log.action == IMPRESSION)
    for s, c, k in zip(shown.shown.tolist(), shown.cover.tolist(), shown.position.tolist(), strict=True):
        if (s, c) not in engaged:
            passed.setdefault(s, []).append((c, attention[k]))
    others = np.full((len(positive), PASSED), -1)
    examined = np.zeros((len(positive), PASSED), np.float32)
    for q, s in enumerate(lists):
        of_list = passed.get(s, [])
        for n, i in enumerate(rng.permutation(len(of_list))[:PASSED]):
            others[q, n], examined[q, n] = of_list[i]
    weight = (1 / attention[log.position[positive]]).astype(np.float32)
    return NextCovers(
        events, start, log.user[positive], lengths, log.cover[positive], weight / weight.mean(), others, examined
    )


def embeddings(
    encoder: UserEncoder, histories: NextCovers, users: np.ndarray, lengths: np.ndarray, covers: np.ndarray
) -> np.ndarray:
    """(B, D) embeddings of users (B,) after their first `lengths` (B,) events; events before the window enter as a carried sum."""
    out = []
    for i in range(0, len(users), 512):
        rows, count = users[i : i + 512], lengths[i : i + 512]
        older = np.maximum(count - WINDOW, 0)
        with torch.inference_mode():
            carried = encoder.carry(histories.history(rows, older, covers, int(older.max(initial=0))))
        out.append(encoder.encode(histories.history(rows, count, covers), carried).numpy())
    return np.concatenate(out)
