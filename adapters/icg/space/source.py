"""A catalogue's folder -> its covers and its users' behaviour on them. Knows no model.

Tables are those of `eyecatch import`: items, optionally covers, and events or ratings. Ratings of items are not clicks on covers; a rating
is about its item's first cover.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from icg.data.behaviour import CLICK, DISLIKE, DWELL, IMPRESSION, LIKE, PURCHASE
from icg.data.catalogue import Catalogue, Example, RowReport, Splits
from icg.data.column_names import COVER, EVENT_ITEM, RATING, TIME, USER
from icg.data.numbers import EMBEDDING, vector_of
from icg.data.tables import Table
from icg.data.times import seconds
from icg.errors import IcgError, InputError

WEIGHTS = {IMPRESSION: 0.0, CLICK: 1.0, LIKE: 2.0, DISLIKE: -1.5, PURCHASE: 3.0}
DWELL_FULL_MS = 10_000
"""These are the weights of the services' encoder of the mean."""


@dataclass(frozen=True)
class Behaviour:
    """Columns of E events ordered by user, then time. `user` 0..users-1, `cover`: row of the catalogue, `weight`: above 0 for an
    engagement, below 0 for a rejection, 0 for an exposure."""

    user: np.ndarray
    cover: np.ndarray
    weight: np.ndarray

    @property
    def users(self) -> int:
        return int(self.user.max(initial=-1)) + 1

    def rows(self, users: int) -> list[slice]:
        """The events of each user."""
        ends = np.searchsorted(self.user, np.arange(users + 1))
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    def take(self, keep: np.ndarray) -> Behaviour:
        """The events of a mask (E,), in their order."""
        return Behaviour(self.user[keep], self.cover[keep], self.weight[keep])


@dataclass(frozen=True)
class Source:
    """`covers`: examples in table order; `behaviour` on their rows; `kind`: "events", "ratings" or "none"; `vectors` (N, W): the covers'
    own vectors of another model, None unless all have one."""

    covers: list[Example]
    behaviour: Behaviour
    kind: str
    vectors: np.ndarray | None = None


def read(folder: Path, report: RowReport, liked: float = 4.0, disliked: float = 2.5) -> Source:
    """The tables of `folder`; rows that cannot be used go to `report`. Without a table of covers, one cover an item.

    liked, disliked: bounds of ratings that count as an engagement and as a rejection. Raises IcgError for a folder without a table of
    items, for a table without its columns, and InputError for one that cannot be read.
    """
    catalogue = Catalogue.open(folder, Splits(0.0, 0.0))
    covers = [e for e in catalogue.examples(report) if catalogue.covers is not None or e.cover == e.item]
    ratings, vectors = Table.beside(folder, "ratings"), _vectors(catalogue, covers)
    if catalogue.events is not None:
        log = catalogue.log({e.cover: (n, e.item) for n, e in enumerate(covers)}, report)
        dwell = np.minimum(log.dwell_ms / DWELL_FULL_MS, 1.0)
        weights = np.array([WEIGHTS.get(action, 0.0) for action in range(DWELL + 1)])
        weight = np.where(log.action == DWELL, dwell, weights[log.action])
        return Source(covers, Behaviour(log.user, log.cover, weight), "events", vectors)
    if ratings is not None:
        return Source(covers, _ratings(ratings, covers, report, liked, disliked), "ratings", vectors)
    empty = np.zeros(0, np.int64)
    return Source(covers, Behaviour(empty, empty, np.zeros(0)), "none", vectors)


def _vectors(catalogue: Catalogue, covers: Sequence[Example]) -> np.ndarray | None:
    """The column `embedding` of the table of covers; None without one, or with a cover that has no finite vector as wide as the first."""
    table = catalogue.covers
    column = table.column(EMBEDDING, required=False) if table is not None else ""
    if table is None or not column:
        return None
    id, own_vectors = table.column(COVER, required=False), dict[str, np.ndarray]()
    for row in table.rows():
        with suppress(InputError):
            own_vectors.setdefault(row.values.get(id, ""), vector_of(row, [column]))
    rows = [own_vectors.get(example.cover, np.zeros(0)) for example in covers]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or 0 in widths or not all(np.isfinite(row).all() for row in rows):
        return None
    return np.stack(rows)


def _ratings(table: Table, covers: Sequence[Example], report: RowReport, liked: float, disliked: float) -> Behaviour:
    user, item, rating, when = (table.column(names) for names in (USER, EVENT_ITEM, RATING, TIME))
    first: dict[str, int] = {}
    for n, example in enumerate(covers):
        first.setdefault(example.item, n)
    users: dict[str, int] = {}
    who, cover, weight, time = array("q"), array("q"), array("d"), array("d")
    for row in table.rows():
        cell = row.values
        try:
            if row.problem or not cell[user]:
                raise IcgError(row.problem or "user=''; allowed: a user's id")
            value, moment = _number(cell[rating]), seconds(cell[when])
        except IcgError as error:
            report.refuse("an unusable rating", "ratings", row.number, "", str(error))  # never name a user
            continue
        if cell[item] not in first:
            reason = f"item {cell[item][:200]!r}; allowed: an item with a picture"
            report.refuse("a rating of another item", "ratings", row.number, "", reason)
            continue
        who.append(users.setdefault(cell[user], len(users)))
        cover.append(first[cell[item]])
        weight.append(WEIGHTS[LIKE] if value >= liked else WEIGHTS[DISLIKE] if value <= disliked else 0.0)
        time.append(moment)
    columns = (np.array(who, np.int64), np.array(cover, np.int64), np.array(weight))
    order = np.lexsort((np.array(time), columns[0]))
    return Behaviour(*(column[order] for column in columns))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise IcgError(f"rating={text[:200]!r}; allowed: a finite number")
    return value
