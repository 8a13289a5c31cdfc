"""A shop's tables -> training examples: one a cover, with its item's title and split. Rows stream; no pixel is read here.

The tables are those of `eyecatch import`. Knows no model.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from icg.brief import MAX_TITLE
from icg.data import column_names
from icg.data.behaviour import CLICK, DISLIKE, DWELL, IMPRESSION, LIKE, PURCHASE, Log
from icg.data.tables import Table
from icg.data.times import seconds
from icg.errors import IcgError
from icg.pictures import inside

ACTIONS = {"impression": IMPRESSION, "click": CLICK, "like": LIKE}
ACTIONS |= {"dislike": DISLIKE, "purchase": PURCHASE, "dwell": DWELL}
TRAIN, VALIDATION, TEST = "train", "validation", "test"
MAX_SHOWN = 1000


@dataclass(frozen=True)
class Splits:
    """Held-out shares of items and, independently, of users. The hash of an id decides its split."""

    validation: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test < 1):
            raise IcgError(f"validation={self.validation}, test={self.test}; allowed: shares from 0 that leave some")

    def of(self, kind: str, id: str) -> str:
        """TRAIN, VALIDATION or TEST for a `kind` ("item" or "user") and its id."""
        position = self.position(kind, id)
        return TEST if position < self.test else VALIDATION if position < self.test + self.validation else TRAIN

    @staticmethod
    def position(kind: str, id: str) -> float:
        """0 to 1, always the same for a kind and an id; the held-out ones have the smallest."""
        return int.from_bytes(hashlib.sha256(f"{kind}\n{id}".encode()).digest()[:8], "big") / 2**64


@dataclass(frozen=True)
class Example:
    """One cover of one item. `path`: its picture, an existing file."""

    item: str
    title: str
    category: str
    cover: str
    path: Path
    split: str


@dataclass
class RowReport:
    """How many rows were accepted, and how many were refused for each kind of reason; the first MAX_SHOWN refusals in full."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    shown: list[dict[str, object]] = field(default_factory=list)

    def refuse(self, kind: str, table: str, row: int, id: str, reason: str) -> None:
        """Count a refusal. `row` counts from 1, 0 for an unknown one."""
        self.refused[kind] += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append({"table": table, "row": row, "id": id[:200], "kind": kind, "reason": reason})

    def __str__(self) -> str:
        return f"{self.accepted} covers{self.left_out}"

    @property
    def left_out(self) -> str:
        """What was refused, in words, to be put behind a number; "" for nothing."""
        reasons = ", ".join(f"{count} with {kind}" for kind, count in self.refused.most_common())
        return f", left out: {reasons}" if reasons else ""

    def write(self, path: Path) -> None:
        """Write `shown`, one JSON object a line."""
        path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self.shown))


class Catalogue:
    """Tables `items`, optionally `covers` and `events`, and the folder `pictures` that their paths are relative to.

    Titles stay in memory, some hundred bytes an item; covers stream. Without a table of covers, an item's own pictures are
    its covers. Raises IcgError for a table without its columns.
    """

    def __init__(
        self,
        items: Table,
        pictures: Path,
        covers: Table | None = None,
        events: Table | None = None,
        splits: Splits | None = None,
    ) -> None:
        self.items, self.pictures, self.covers, self.events = items, pictures, covers, events
        self.splits = splits or Splits()
        self._id, self._title = items.column(column_names.ITEM), items.column(column_names.TITLE)
        self._category = items.column(column_names.CATEGORY, required=False)
        self._own_pictures = [
            name for name in (items.column((n,), required=False) for n in column_names.PICTURES) if name
        ]
        if covers is None and not self._own_pictures:
            items.column(column_names.PICTURES)

    @classmethod
    def open(cls, folder: Path, splits: Splits | None = None) -> Catalogue:
        """folder: with items.csv (or .tsv, .jsonl, .parquet), optionally covers and events likewise, and the pictures."""
        items = Table.beside(folder, "items")
        if items is None:
            raise IcgError(
                f"data={str(folder)!r}: no table of items; allowed: a folder with items.csv, .jsonl or .parquet"
            )
        return cls(items, folder, Table.beside(folder, "covers"), Table.beside(folder, "events"), splits)

    def examples(self, report: RowReport) -> Iterator[Example]:
        """Every cover in the order of the tables; rows that cannot be used go to `report`."""
        if self.covers is None:
            for row, item, cells in self._items(report):
                if not cells:
                    report.refuse("no picture", "items", row, item.item, "its picture columns are empty")
                for n, text in enumerate(dict.fromkeys(cells)):
                    cover = item.cover if n == 0 else f"{item.cover}#{n + 1}"
                    yield from self._example(report, "items", row, item, cover, text)
            return
        known = {item.item: item for _, item, _ in self._items(report)}
        id, of = self.covers.column(column_names.COVER, required=False), self.covers.column(column_names.COVER_ITEM)
        picture, cover_ids = self.covers.column(column_names.COVER_PICTURE), set()
        for row in self.covers.rows():
            cover_item, text = row.values.get(of, ""), row.values.get(picture, "")
            cover = row.values.get(id, "") if id else f"{cover_item}/{text}"
            if row.problem:
                report.refuse("a damaged row", "covers", row.number, "", row.problem)
            elif cover_item not in known:
                report.refuse(
                    "an unknown item", "covers", row.number, cover, f"item {cover_item[:200]!r} is not in the table"
                )
            elif not cover or cover in cover_ids:
                report.refuse("no id of its own", "covers", row.number, cover, "each cover needs an id of its own")
            else:
                cover_ids.add(cover)
                yield from self._example(report, "covers", row.number, known[cover_item], cover, text)

    def log(
        self,
        covers: Mapping[str, tuple[int, str]],
        report: RowReport,
        split: str = TRAIN,
        users: dict[str, int] | None = None,
    ) -> Log:
        """The events of users of a split, "" for all. `covers`: cover id -> (its row, its item), in the order of `examples`. `users`:
        gets the number of each user id.

        An event without a cover, or without a table of covers, is about its item's first cover. The decision column identifies lists;
        without it, all events of a user with one cover are a list.
        """
        whole, time = [array("q") for _ in range(6)], array("d")
        if self.events is not None:
            self._read(self.events, whole, time, covers, report, split, {} if users is None else users)
        user, cover, action, dwell, shown, position = (np.array(column, np.int64) for column in whole)
        order = np.lexsort((np.array(time), user))
        columns = (user, cover, action, dwell, np.array(time), shown, position)
        return Log(*(column[order] for column in columns))

    def _items(self, report: RowReport) -> Iterator[tuple[int, Example, list[str]]]:
        """Yields (row, the item as an example without a picture, the cells of its picture columns)."""
        item_ids: set[str] = set()
        for row in self.items.rows():
            id, title = row.values.get(self._id, ""), row.values.get(self._title, "")
            if row.problem:
                report.refuse("a damaged row", "items", row.number, "", row.problem)
            elif not id or id in item_ids:
                report.refuse("no id of its own", "items", row.number, id, "each item needs an id of its own")
            elif not title.strip() or len(title) > MAX_TITLE:
                reason = f"title of {len(title)} characters; allowed: 1..{MAX_TITLE}, not only spaces"
                report.refuse("no usable title", "items", row.number, id, reason)
            else:
                item_ids.add(id)
                category = row.values.get(self._category, "") if self._category else ""
                item = Example(id, title, category, id, Path(), self.splits.of("item", id))
                yield row.number, item, [text for name in self._own_pictures if (text := row.values.get(name, ""))]

    def _example(
        self, report: RowReport, table: str, row: int, item: Example, cover: str, text: str
    ) -> Iterator[Example]:
        try:
            path = inside(self.pictures, text)
        except IcgError as error:
            report.refuse("no such picture", table, row, cover, str(error))
            return
        report.accepted += 1
        yield Example(item.item, item.title, item.category, cover, path, item.split)

    def _read(
        self,
        events: Table,
        whole: list[array[int]],
        time: array[float],
        covers: Mapping[str, tuple[int, str]],
        report: RowReport,
        split: str,
        users: dict[str, int],
    ) -> None:
        """Append the events of users of `split`: user, cover, action, dwell_ms, list and position to `whole`."""
        user, action, when = (
            events.column(names) for names in (column_names.USER, column_names.ACTION, column_names.TIME)
        )
        item = events.column(column_names.EVENT_ITEM)
        optional = (column_names.EVENT_COVER, column_names.DECISION, column_names.DWELL, column_names.POSITION)
        cover, decision, dwell, position = (events.column(names, required=False) for names in optional)
        first: dict[str, str] = {}
        for id, (_, of) in covers.items():
            first.setdefault(of, id)
        lists: dict[tuple[str, ...], int] = {}
        for row in events.rows():
            cell = row.values
            user_id = cell.get(user, "")
            if split and not row.problem and user_id and self.splits.of("user", user_id) != split:
                continue
            named = cell.get(cover, "") if self.covers is not None else ""
            named = named or first.get(cell.get(item, ""), "")
            try:
                if row.problem or not user_id:
                    raise IcgError(row.problem or "user=''; allowed: a user's id")
                action_name, moment = cell.get(action, "").strip().lower(), seconds(cell.get(when, ""))
                if action_name not in ACTIONS:
                    raise IcgError(f"action={action_name[:200]!r}; allowed: {', '.join(ACTIONS)}")
                dwelt, place = _whole("dwell_ms", cell.get(dwell, "")), _whole("position", cell.get(position, ""))
            except IcgError as error:
                report.refuse("an unusable event", "events", row.number, "", str(error))  # never name a user
                continue
            if named not in covers:
                reason = f"item {cell.get(item, '')[:200]!r}, cover {named[:200]!r}; allowed: a cover to train on"
                report.refuse("an event about another cover", "events", row.number, "", reason)
                continue
            list_id = (cell[decision],) if cell.get(decision) else (user_id, named)
            number = lists.setdefault(list_id, len(lists))
            ids = (users.setdefault(user_id, len(users)), covers[named][0], ACTIONS[action_name])
            values = (*ids, dwelt if ACTIONS[action_name] == DWELL else 0, number, place)
            for column, value in zip(whole, values, strict=True):
                column.append(value)
            time.append(moment)


def _whole(name: str, text: str) -> int:
    try:
        number = float(text or 0)
    except ValueError:
        number = -1
    if not 0 <= number < 2**53:
        raise IcgError(f"{name}={text[:200]!r}; allowed: a number from 0")
    return int(number)
