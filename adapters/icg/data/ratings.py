"""Ratings as a behaviour log: who rated what, when. Ratings of items are not clicks on covers: state that with every figure.

Knows no model. Reads MovieLens-shaped tables.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icg.data.behaviour import DISLIKE, DWELL, IMPRESSION, LIKE, Log
from icg.data.engagement import Posts
from icg.errors import IcgError


@dataclass(frozen=True)
class Ratings:
    """`log`: LIKE for a rating of at least `liked`, DISLIKE for at most `disliked`, else a DWELL of 0 ms, the weakest signal; each follows
    an impression, so that exposure is the number of ratings. `titles` and `pictures` of the log's covers."""

    log: Log
    titles: list[str]
    pictures: list[Path]


def load(folder: Path, liked: float = 4.0, disliked: float = 2.5) -> Ratings:
    """`folder` holds items.csv (item_id, title, cover) and ratings.csv (userId, movieId, rating, timestamp).

    Ratings of items without a picture are left out. Raises IcgError naming the missing file or column.
    """
    items = _rows(folder / "items.csv", ("item_id", "title", "cover"))
    items = [row for row in items if row[2]]
    number = {row[0]: n for n, row in enumerate(items)}
    rows = _rows(folder / "ratings.csv", ("userId", "movieId", "rating", "timestamp"))
    rows = [row for row in rows if row[1] in number]
    if not rows:
        raise IcgError(f"ratings={str(folder)!r}: no rating of an item with a picture; allowed: at least one")
    user = np.unique([row[0] for row in rows], return_inverse=True)[1]
    cover = np.array([number[row[1]] for row in rows])
    rating, time = np.array([row[2] for row in rows], float), np.array([row[3] for row in rows], float)
    order = np.lexsort((time, user))
    user, cover, rating, time = user[order], cover[order], rating[order], time[order]
    action = np.where(rating >= liked, LIKE, np.where(rating <= disliked, DISLIKE, DWELL))
    actions = np.stack([np.full(len(action), IMPRESSION), action], 1).ravel()
    user, cover, time, shown = (np.repeat(column, 2) for column in (user, cover, time, np.arange(len(user))))
    zeros = np.zeros(len(user), np.int64)
    log = Log(user, cover, actions, zeros, time, shown, zeros)
    return Ratings(log, [row[1] for row in items], [folder / row[2] for row in items])


def as_posts(folder: Path, kpi: str = "count", limit: int = 0, seed: int = 0) -> Posts:
    """Films as posts of their first genre at the time of their first rating: the KPI is the number of ratings, or their mean.

    The year is removed from the title, because age explains counts. limit: so many random films, 0 for all. Raises IcgError for
    another KPI, and as `load`.
    """
    if kpi not in ("count", "mean"):
        raise IcgError(f"kpi={kpi!r}; allowed: count or mean")
    items = [r for r in _rows(folder / "items.csv", ("item_id", "title", "cover", "genres")) if r[2]]
    rated: dict[str, list[tuple[float, float]]] = {}
    for item, rating, time in _rows(folder / "ratings.csv", ("movieId", "rating", "timestamp")):
        rated.setdefault(item, []).append((float(time), float(rating)))
    items = [r for r in items if r[0] in rated]
    if limit and limit < len(items):
        items = [items[n] for n in np.sort(np.random.default_rng(seed).permutation(len(items))[:limit])]
    return Posts.of(
        account=[r[3].split("|")[0] for r in items],
        time=[min(rated[r[0]])[0] for r in items],
        text=[re.sub(r"\s*\(\d{4}\)\s*$", "", r[1]) for r in items],
        picture=[folder / r[2] for r in items],
        kpi=[len(rated[r[0]]) if kpi == "count" else float(np.mean([v for _, v in rated[r[0]]])) for r in items],
    )


def _rows(path: Path, columns: tuple[str, ...]) -> list[list[str]]:
    if not path.is_file():
        raise IcgError(f"{str(path)!r} is missing; allowed: a folder with items.csv and ratings.csv")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        absent = [c for c in columns if c not in (reader.fieldnames or ())]
        if absent:
            raise IcgError(f"{str(path)!r} lacks the columns {absent}; allowed: {list(columns)}")
        return [[row[c] for c in columns] for row in reader]
