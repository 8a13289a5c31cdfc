"""Logged decisions, what users did about them, and the covers that could be shown, as columns. Knows the ports, no store and no policy.

What cannot be used is counted by its reason.
"""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyecatch.core.ports import CatalogStore, DecisionLog, ProfileStore
from eyecatch.core.score import Scoring
from eyecatch.core.trust.standing import is_original, visible
from eyecatch.core.types import EMBEDDING_DIM, Action, Cover, Vector
from eyecatch.evaluate.behaviour import BehaviourTable, Floats, Ints

CLICKS = frozenset({Action.CLICK, Action.LIKE, Action.PURCHASE})
"""What counts as an answer to a cover."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Covers that every user may see now, ordered by item: rows (C, D), base (C,) the sum of their stored rewards' parts of the score,
    original (C,) bool, since (C,) seconds. Those of item n are start[n]..start[n + 1]. place: rows by cover id."""

    rows: Vector
    base: Floats
    original: NDArray[np.bool_]
    since: Floats
    start: Ints
    place: Mapping[str, int]

    def at(self, item: int, time: float) -> Ints:
        """The covers (N,) of an item that existed at `time`."""
        first, last = self.start[item], self.start[item + 1]
        rows: Ints = first + np.flatnonzero(self.since[first:last] <= time)
        return rows


@dataclass(frozen=True, eq=False)
class Shown:
    """One row for each item of a decision, ordered by user, then time: user and item by their numbers in the behaviour (users without an
    event have numbers above), the cover's row among the candidates, time, propensity in (0, 1], and whether the user answered (0 or 1)."""

    user: Ints
    item: Ints
    cover: Ints
    time: Floats
    propensity: Floats
    answer: Floats
    counts: Mapping[str, int]

    def part(self, rows: slice) -> "Shown":
        """Some rows, without the counts."""
        ints = (self.user[rows], self.item[rows], self.cover[rows])
        return Shown(*ints, self.time[rows], self.propensity[rows], self.answer[rows], {})


async def candidates(catalog: CatalogStore, behaviour: BehaviourTable, scoring: Scoring, mode: str) -> Candidates:
    """The pools. mode: who may see made covers, one of core/trust/standing.py's MODES."""
    number = {id: n for n, id in enumerate(behaviour.covers.ids)}
    by_item: list[list[Cover]] = [[] for _ in behaviour.items]
    async for cover in catalog.all_covers():
        if cover.id in number:
            by_item[int(behaviour.covers.item_of[number[cover.id]])].append(cover)
    pools = [visible(covers, mode)[0] for covers in by_item]
    covers = [cover for pool in pools for cover in sorted(pool, key=lambda cover: number[cover.id])]
    base = [float(scoring.contributions(scoring.raw(cover.rewards)).sum()) for cover in covers]
    return Candidates(
        np.array([cover.embedding for cover in covers], np.float32).reshape(len(covers), EMBEDDING_DIM),
        np.array(base),
        np.array([is_original(cover) for cover in covers], bool),
        np.array([cover.created_at for cover in covers], np.float64),
        np.concatenate([[0], np.cumsum([len(pool) for pool in pools])]).astype(np.int64),
        {cover.id: n for n, cover in enumerate(covers)},
    )


async def shown(decisions: DecisionLog, profiles: ProfileStore, behaviour: BehaviourTable, pools: Candidates) -> Shown:
    """Decisions about covers that are candidates, with the answers of their users. Memory is proportional to decisions.

    Users without an event stay: to leave out those who did nothing would favour every policy.
    """
    place = pools.place
    users = {id: n for n, id in enumerate(behaviour.users)}
    items = {item.id: n for n, item in enumerate(behaviour.items)}
    numbers, floats = array("q"), array("d")
    counts: Counter[str] = Counter()
    row: dict[tuple[str, int], int] = {}
    async for decision in decisions.scan():
        # Each request without a user is one of its own.
        user = users.setdefault(decision.user_id or f"\x1f{decision.id}", len(users))
        for id, cover, share in zip(decision.item_ids, decision.cover_ids, decision.propensities, strict=True):
            item = items.get(id)
            if item is None or cover not in place or not 0 < share <= 1:
                counts[_reason(item, cover in place)] += 1
                continue
            row[decision.id, item] = len(floats) // 3
            numbers.extend((user, item, place[cover]))
            floats.extend((decision.time, share, 0.0))
    answers = np.frombuffer(floats, np.float64).reshape(-1, 3).copy()
    after = 0
    while batch := await profiles.events(after, 10_000):
        after = batch[-1][0]
        for _, event in batch:
            if event.decision_id and event.action in CLICKS:
                at = row.get((event.decision_id, items.get(event.item_id, -1)))
                if at is None:
                    counts["answers to decisions that are not in the log, or left out"] += 1
                else:
                    answers[at, 2] = 1.0
    columns = np.frombuffer(numbers, np.int64).reshape(-1, 3)
    order = np.lexsort((answers[:, 0], columns[:, 0]))
    user, item, cover = columns[order].T
    time, share, answer = answers[order].T
    return Shown(user, item, cover, time, share, answer, dict(counts))


def _reason(item: int | None, known: bool) -> str:
    if item is None:
        return "covers shown of items that are not in the catalogue any more"
    return (
        "covers shown with a propensity outside of (0, 1]" if known else "covers shown that not everybody sees any more"
    )
