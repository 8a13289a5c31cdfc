"""A table of behaviour -> events absorbed into profiles. Importing it again changes nothing. Knows no command line."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from icg.data.times import seconds
from icg.errors import InputError

from eyecatch.core.errors import InvalidInput, shorten
from eyecatch.core.limits import Check
from eyecatch.core.ports import CatalogStore, Encoder, ProfileStore
from eyecatch.core.types import Action, Event
from eyecatch.importing.report import Progress, Report, silent
from eyecatch.importing.tables import Row, Table, translate

BATCH = 1000
_USER = ("user_id", "user", "userId", "customer_id")
_ITEM = ("item_id", "item", "itemId", "movieId", "product_id", "sku")
_TIME = ("timestamp", "time", "event_time", "ts", "created_at")
_ACTION = ("action", "event_type", "event")
_NAMES = ", ".join(action.name.lower() for action in Action)


@dataclass(frozen=True)
class EventColumns:
    """Column names; "" for a common name.

    The action comes from its column, from `rating` (>= 4 like, >= 3 click, <= 2 dislike, else impression), or is `constant` for
    every row. An event without an id gets one from user, item, action and time.
    """

    user: str = ""
    item: str = ""
    time: str = ""
    action: str = ""
    rating: str = ""
    constant: Action | None = None
    id: str = ""
    cover: str = ""
    decision: str = ""
    dwell_ms: str = ""

    def resolve(self, table: Table) -> "EventColumns":
        """The names in `table`. Raises InvalidInput naming the table's columns if one is missing."""
        has_action = bool(self.rating) or self.constant is not None
        return EventColumns(
            table.column("user", self.user, _USER),
            table.column("item", self.item, _ITEM),
            table.column("time", self.time, _TIME),
            "" if has_action else table.column("action", self.action, _ACTION),
            table.column("rating", self.rating, (), required=False),
            self.constant,
            table.column("id", self.id, ("event_id", "eventId"), required=False),
            table.column("cover", self.cover, ("cover_id", "coverId"), required=False),
            table.column("decision", self.decision, ("decision_id", "decisionId"), required=False),
            table.column("dwell_ms", self.dwell_ms, ("dwell_ms",), required=False),
        )


async def import_events(
    table: Table,
    profiles: ProfileStore,
    catalog: CatalogStore,
    encoder: Encoder,
    columns: EventColumns | None = None,
    progress: Progress = silent,
) -> Report:
    """Absorb every row. Events of unknown items are translate; known events and forgotten users count as unchanged."""
    names = (columns or EventColumns()).resolve(table)
    report = Report()
    for batch in table.batches(BATCH):
        events: list[tuple[Row, Event]] = []
        for row in batch:
            try:
                events.append((row, _event(row, names)))
            except InvalidInput as error:
                report.refuse(row.number, row.values.get(names.id, "")[:200], str(error))
        known = await catalog.known_items(sorted({event.item_id for _, event in events}))
        good = [event for _, event in events if event.item_id in known]
        for row, event in events:
            if event.item_id not in known:
                report.refuse(row.number, event.id, f"no item {shorten(event.item_id)}")
        new = await profiles.absorb(good, encoder) if good else 0
        report.accepted += new
        report.unchanged += len(good) - new
        progress(table.fraction, report)
    report.refused.sort(key=lambda refusal: refusal.row)
    return report


def _event(row: Row, columns: EventColumns) -> Event:
    if row.problem:
        raise InvalidInput.of("row", row.number, row.problem)
    value = row.values
    user, item = value.get(columns.user, ""), value.get(columns.item, "")
    action = _action(value, columns)
    time = _seconds(value.get(columns.time, ""))
    event = Event(
        value.get(columns.id, "") or event_id(user, item, action, time),
        user,
        item,
        action,
        time,
        value.get(columns.cover, ""),
        value.get(columns.decision, ""),
        int(_number("dwell_ms", value.get(columns.dwell_ms, "") or "0")),
    )
    check = Check()
    check.event("event", event)
    check.done()
    return event


def event_id(user: str, item: str, action: Action, time: float) -> str:
    """The id of an event without one; equal events get equal ids."""
    return hashlib.sha256(json.dumps([user, item, int(action), time]).encode()).hexdigest()[:32]


def rating_action(rating: float) -> Action:
    """The action for a rating of 0.5 to 5 stars."""
    steps: Sequence[tuple[float, Action]] = ((4.0, Action.LIKE), (3.0, Action.CLICK))
    for low, action in steps:
        if rating >= low:
            return action
    return Action.DISLIKE if rating <= 2.0 else Action.IMPRESSION


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except InputError as error:
        raise translate(error) from error


def _action(value: dict[str, str], columns: EventColumns) -> Action:
    if columns.constant is not None:
        return columns.constant
    if columns.rating:
        return rating_action(_number("rating", value.get(columns.rating, "")))
    text = value.get(columns.action, "")
    try:
        return Action[text.strip().upper()]
    except KeyError:
        raise InvalidInput.of("action", text, f"one of {_NAMES}") from None


def _number(field: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput.of(field, text, "a number")
    return number
