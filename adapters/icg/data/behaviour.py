"""Behaviour logs: which covers users saw and what they did. A table of events, and a SIMULATED one. numpy only.

Knows no model. Action numbers are those of the wire format.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from icg.data import tastes
from icg.errors import IcgError

IMPRESSION, CLICK, LIKE, DISLIKE, PURCHASE, DWELL = 1, 2, 3, 4, 5, 6
ACTIONS = 7
ENGAGED = (CLICK, LIKE, PURCHASE)
LIST = 8
"""Covers in one simulated list."""
KNOWN_OF = (
    (IMPRESSION, CLICK, LIKE, DISLIKE, PURCHASE, DWELL),
    (IMPRESSION, CLICK, LIKE, DISLIKE, PURCHASE),
    (IMPRESSION, CLICK, DISLIKE),
    (IMPRESSION, LIKE, DISLIKE, PURCHASE),
)
"""Actions that a shop records of a user."""
SHARP, THRESHOLD = 4.0, 1.2
"""A simulated user clicks half of the covers whose utility is THRESHOLD deviations above their mean."""


@dataclass(frozen=True)
class Log:
    """Columns of equal length E, ordered by user, then time.

    user, cover: indices. action: wire number. dwell_ms: for DWELL, else 0. time: seconds. shown: the number of the list (the
    decision) of the cover. position: its place in the list, 0 at the top; where it is unknown, only the order matters.
    """

    user: np.ndarray
    cover: np.ndarray
    action: np.ndarray
    dwell_ms: np.ndarray
    time: np.ndarray
    shown: np.ndarray
    position: np.ndarray

    def __post_init__(self) -> None:
        sizes = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(sizes.values())) != 1:
            raise IcgError(f"log columns of lengths {sizes}; allowed: one length")
        later = np.diff(self.time) >= 0
        if not (((np.diff(self.user) == 0) & later) | (np.diff(self.user) > 0)).all():
            raise IcgError("log is not ordered; allowed: events ordered by user, then time")

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Log:
        """The events of `rows` (indices or booleans), in their order."""
        return Log(*(getattr(self, f.name)[rows] for f in fields(self)))

    def exposure(self, covers: int) -> np.ndarray:
        """(covers,) each cover's share of impressions, smoothed so that none is zero."""
        count = np.bincount(self.cover[self.action == IMPRESSION], minlength=covers) + 1.0
        return count / count.sum()

    def examination(self) -> np.ndarray:
        """(positions,) click rate of each position over that of the top one: the probability that a cover there is looked at.

        Unbiased if covers are placed at random, as by exploration; 0.05 to 1. 1 for a log without impressions.
        """
        places = int(self.position.max(initial=0)) + 1
        if not (self.action == IMPRESSION).any():
            return np.ones(places)
        shown = np.bincount(self.position[self.action == IMPRESSION], minlength=places).astype(float)
        clicked = np.bincount(self.position[self.action == CLICK], minlength=places)
        rate = clicked / np.maximum(shown, 1)
        return np.clip(rate / max(rate[0], 1e-9), 0.05, 1.0)


def population(users: int, rng: np.random.Generator, seed: int = 7) -> tastes.Tastes:
    """SIMULATED users of one population: some looks are favourites more often than others, the same ones for one `seed`."""
    order = np.random.default_rng(seed)
    favourite = []
    for size in tastes.SIZES:
        share = 1 / (2.0 + order.permutation(size))
        favourite.append(rng.choice(size, users, p=share / share.sum()))
    return tastes.with_favourites(np.stack(favourite, 1), rng)


def simulate(
    people: tastes.Tastes,
    look: np.ndarray,
    category: np.ndarray,
    lists: int,
    rng: np.random.Generator,
    drift: float = 0.2,
) -> tuple[Log, tastes.Tastes]:
    """SIMULATED behaviour of `people` on covers of `look` (N, 4) and `category` (N,): the log, and the tastes at its end.

    Each user gets `lists` lists of LIST covers, popular ones more often, placed at random. A user looks at a cover with a probability
    that falls with its position, then clicks it by its utility; dwell, likes, purchases and dislikes follow utility too. For a share
    `drift` of the users the taste changes at a random moment.
    """
    users, covers = len(people.favourite), len(look)
    other = tastes.sample(users, rng)
    turn = np.where(rng.random(users) < drift, rng.integers(lists // 4, lists, users), lists)
    share = rng.lognormal(0, 1, covers)
    shown = rng.choice(covers, (users, lists, LIST), p=share / share.sum())
    before, after = (_standard(p.utility(look, category)) for p in (people, other))
    rows = np.arange(users)[:, None, None]
    now = np.arange(lists)[None, :, None] >= turn[:, None, None]
    utility = np.where(now, after[rows, shown], before[rows, shown])
    examined = rng.random(shown.shape) < 1 / (1 + 0.35 * np.arange(LIST))
    clicked = examined & (rng.random(shown.shape) < _sigmoid(SHARP * (utility - THRESHOLD)))
    chance = {LIKE: clicked * 0.3 * _sigmoid(utility), PURCHASE: clicked * 0.1 * _sigmoid(utility)}
    chance[DISLIKE] = (examined & ~clicked) * 0.15 * _sigmoid(-2 * (utility + 1.0))
    happened = {IMPRESSION: np.ones_like(clicked), CLICK: clicked, DWELL: clicked}
    happened |= {action: rng.random(shown.shape) < p for action, p in chance.items()}
    dwell = np.exp(rng.normal(8.3 + 0.6 * utility, 0.5)).clip(200, 600_000)
    started = np.cumsum(rng.exponential(20_000, (users, lists)), 1)[..., None]
    order = (IMPRESSION, CLICK, DISLIKE, DWELL, LIKE, PURCHASE)
    columns = []
    for n, action in enumerate(order):
        u, i, k = np.nonzero(happened[action])
        when = started[u, i, 0] + (n > 0) * (1 + 10 * k) + n
        ms = dwell[u, i, k] * (action == DWELL)
        columns.append(np.stack([u, shown[u, i, k], np.full(len(u), action), ms, when, u * lists + i, k], 1))
    table = np.concatenate(columns)
    table = table[np.lexsort((table[:, 4], table[:, 0]))]
    whole = [table[:, c].astype(np.int64) for c in (0, 1, 2, 3, 5, 6)]
    log = Log(*whole[:4], table[:, 4], *whole[4:])
    last = np.where((turn < lists)[:, None], other.weights, people.weights)
    favourite = np.where((turn < lists)[:, None], other.favourite, people.favourite)
    return log, tastes.Tastes(last, favourite)


def thinned(log: Log, rng: np.random.Generator) -> Log:
    """The log as shops have it: of some users only clicks are known, of some only likes and purchases, of some no dwell times."""
    users = int(log.user.max()) + 1
    kind = rng.choice(len(KNOWN_OF), users, p=(0.4, 0.2, 0.2, 0.2))
    known = np.zeros((len(KNOWN_OF), ACTIONS), bool)
    for row, actions in enumerate(KNOWN_OF):
        known[row, list(actions)] = True
    return log.take(known[kind[log.user], log.action])


def clicks(utility: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(U, N) utilities -> (U, N) booleans: whether each SIMULATED user would click each cover they look at."""
    return rng.random(utility.shape) < _sigmoid(SHARP * (_standard(utility) - THRESHOLD))


def _standard(utility: np.ndarray) -> np.ndarray:
    return (utility - utility.mean(1, keepdims=True)) / utility.std(1, keepdims=True)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
