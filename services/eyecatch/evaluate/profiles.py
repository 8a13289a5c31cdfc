"""Rankings by stored profiles: items in the order of their best cover for a user's embedding. Knows no store and no model.

Which covers count makes the variants: those that came with the items, those made for nobody, and those made for the user. Where a variant
has no cover of an item, the item's own covers stand in, so that all variants rank the same items.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from icg.data.interactions import Split
from numpy.typing import NDArray

from eyecatch.core.ports import Encoder
from eyecatch.core.types import RECENT_EVENTS, Action, Event, Vector
from eyecatch.evaluate.behaviour import BehaviourTable, Covers, Ints

Scorer = Callable[[Ints], NDArray[np.float32]]
USER_BATCH = 1024
"""Users encoded in one call: enough to use all cores, few enough for the memory."""


def recent_events(behaviour: BehaviourTable, split: Split) -> list[list[Event]]:
    """Of each user of the split what a profile would hold: the latest known events, newest first, impressions left out."""
    start = split.known.start
    out = []
    for user in split.users:
        known = [behaviour.events[row] for row in split.rows[start[user] : start[user + 1]]]
        out.append([event for event in known if event.action is not Action.IMPRESSION][-RECENT_EVENTS:][::-1])
    return out


def embeddings(encoder: Encoder, recent: Sequence[Sequence[Event]], by_key: Mapping[str, Vector]) -> Vector:
    """(Q, D) of the users of `recent_events`."""
    parts = [encoder(recent[n : n + USER_BATCH], by_key) for n in range(0, len(recent), USER_BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def swapped(count: int, seed: int) -> Ints:
    """(count,) for each user another one: the next in a random circle, so that none gets the own profile."""
    circle = np.random.default_rng(seed).permutation(count)
    others = np.empty_like(circle)
    others[circle] = np.roll(circle, 1)
    return others


def scorer(split: Split, queries: Vector, covers: Covers, items: int, choice: "Choice | None" = None) -> Scorer:
    """Scores of users of the split by their `queries` (Q, D): of each item the best of its covers, -inf without any."""
    own = ~covers.generated

    def score(users: Ints) -> NDArray[np.float32]:
        rows = np.searchsorted(split.users, users)
        table = best(queries[rows], covers, own, items)
        if choice is None:
            return table
        for n, row in enumerate(rows):
            mine = choice(int(row))
            if mine.any():
                scores = best(queries[row : row + 1], covers, mine, items)[0]
                table[n] = np.where(np.isfinite(scores), scores, table[n])
        return table

    return score


Choice = Callable[[int], NDArray[np.bool_]]
"""The row of a user in the split -> which covers (C,) the variant shows that user."""


def for_nobody(covers: Covers) -> Choice:
    """Made covers that are neither a user's nor a taste's."""
    mask = covers.generated & (covers.taste < 0) & np.array([tag == "" for tag in covers.made_for], bool)
    return lambda row: mask


def for_users(covers: Covers, tags: Sequence[str], tastes: Ints) -> Choice:
    """Made covers for the user (its tag), or for the user's taste cluster (Q,), -1 where the user has none."""
    made_for = np.array(covers.made_for, dtype=object)
    return lambda row: (
        covers.generated
        & ((made_for == tags[row]) | ((covers.taste >= 0) & (covers.taste == tastes[row]) & (made_for == "")))
    )


def best(queries: Vector, covers: Covers, use: NDArray[np.bool_], items: int) -> NDArray[np.float32]:
    """(B, items): the highest product of a query (B, D) and a cover of the item among `use` (C,)."""
    out = np.full((len(queries), items), -np.inf, np.float32)
    rows = np.flatnonzero(use)
    if len(rows) and len(queries):
        numbers, first = np.unique(covers.item_of[rows], return_index=True)  # covers are ordered by item
        out[:, numbers] = np.maximum.reduceat(queries @ covers.rows[rows].T, first, axis=1)
    return out
