"""Any table of events, and optionally one of items, as Interactions with the items' words. Knows no model and reads no picture.

Rows that cannot be used are counted by their reason. Actions are those of `eyecatch import`; a table of ratings has a column `rating`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icg.data import rating_scale
from icg.data.behaviour import ENGAGED
from icg.data.catalogue import ACTIONS
from icg.data.column_names import ACTION, CATEGORY, EVENT_ITEM, ITEM, RATING, TIME, TITLE, USER
from icg.data.interactions import Interactions
from icg.data.rating_scale import RatingScale
from icg.data.tables import Table
from icg.data.times import seconds
from icg.errors import IcgError, InputError


@dataclass(frozen=True, eq=False)
class EventTable:
    """`texts`: title and category of each item, "" where no table says. `counts`: rows left out, and odd ones, by reason."""

    interactions: Interactions
    items: list[str]
    texts: list[str]
    counts: dict[str, int]


def read(events: Path, items: Path | None = None) -> EventTable:
    """With a table of items, events of other items are left out. Raises IcgError for a missing file or column and for no usable event."""
    number, texts = _items(items) if items is not None else ({}, [])
    table, counts = Table(events), Counter[str]()
    user, item, when = table.column(USER), table.column(EVENT_ITEM), table.column(TIME)
    action = table.column(ACTION, required=False)
    rating = "" if action else table.column(RATING, meaning="action or rating")
    scale = RatingScale.of(row.values.get(rating, "") for row in table.rows()) if rating else RatingScale()
    users: dict[str, int] = {}
    rows: list[tuple[int, int, float, int]] = []
    known: set[tuple[int, int, float, int]] = set()
    for row in table.rows():
        cells = row.values
        if row.problem or not cells.get(user) or not cells.get(item):
            counts["rows that are damaged or name no user or item"] += 1
            continue
        if items is not None and cells[item] not in number:
            counts["events of unknown items"] += 1
            continue
        try:
            time = seconds(cells.get(when, ""))
            kind = (
                _action(cells.get(action, ""))
                if action
                else ACTIONS[rating_scale.meaning(scale.stars(cells.get(rating, "")))]
            )
        except InputError:
            counts["events without a usable time or action"] += 1
            continue
        one = (users.setdefault(cells[user], len(users)), number.setdefault(cells[item], len(number)), time, kind)
        if one in known:
            counts["events told twice"] += 1
            continue
        known.add(one)
        rows.append(one)
    if not rows:
        raise IcgError(f"events={str(events)!r}: no usable event ({dict(counts)}); allowed: at least one")
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    texts += [""] * (len(number) - len(texts))
    positive = np.isin(columns[3], ENGAGED)
    whole = Interactions.of(*columns, positive, users=len(users), items=len(number))
    counts["users with one event"] = int((np.bincount(whole.user) == 1).sum())
    counts["events at the time of the user's event before"] = int(
        ((np.diff(whole.time) == 0) & (np.diff(whole.user) == 0)).sum()
    )
    return EventTable(whole, list(number), texts, {name: count for name, count in counts.items() if count})


def _items(path: Path) -> tuple[dict[str, int], list[str]]:
    table = Table(path)
    id, title = table.column(ITEM), table.column(TITLE)
    category = table.column(CATEGORY, required=False)
    number: dict[str, int] = {}
    texts = []
    for row in table.rows():
        if (one := row.values.get(id, "")) and one not in number:
            number[one] = len(number)
            texts.append(f"{row.values.get(title, '')} {row.values.get(category, '') if category else ''}".strip())
    return number, texts


def _action(text: str) -> int:
    if text.lower() not in ACTIONS:
        raise InputError("action", repr(text[:80]), ", ".join(ACTIONS))
    return ACTIONS[text.lower()]
