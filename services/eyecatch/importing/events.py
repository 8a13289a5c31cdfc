"""A table of behaviour -> events absorbed into profiles. Importing it again changes nothing. Knows no command line."""

import asyncio
import hashlib
import json
import math
import time
from dataclasses import dataclass, replace
from functools import partial

from icg.data import column_names, rating_scale
from icg.data.rating_scale import RatingScale
from icg.data.times import check_unit, seconds
from icg.errors import InputError

from eyecatch.core.behaviour.shown import ShownCovers
from eyecatch.core.errors import InvalidInput, shorten
from eyecatch.core.limits import Check
from eyecatch.core.ports import CatalogStore, Encoder, ProfileStore
from eyecatch.core.types import Action, Event
from eyecatch.importing.report import EXAMPLES, ImportOptions, Progress, Report, silent
from eyecatch.importing.tables import Row, Table, check_id, optional, text_of, translate
from eyecatch.importing.tastes import LATER, encode_users

BATCH = 10_000
"""Larger batches take less for each event: a user of several of them is read and written once."""
_ACTIONS = {spelling: action for action in Action for spelling in (action.name, action.name.lower())}
_NAMES = ", ".join(action.name.lower() for action in Action)


@dataclass(frozen=True)
class EventColumns:
    """Column names; "" for a common name.

    The action comes from its column, from `rating` (>= 4 of 5 stars like, >= 3 click, <= 2 dislike, else impression), or is `constant`
    for every row. An event without an id gets one from user, item, action and time. `scale`: of ratings, "" for 0.5 to 5 stars if no
    rating of the table speaks against it. `time_unit`, `time_format`: as in `icg.data.times.seconds`.
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
    scale: str = ""
    time_unit: str = ""
    time_format: str = ""

    def resolve(self, table: Table) -> "EventColumns":
        """The names in `table`. Raises InvalidInput naming the table's columns if one is missing."""
        has_action = bool(self.rating) or self.constant is not None
        try:
            check_unit(self.time_unit)
            if self.scale:
                RatingScale.parse(self.scale)
        except InputError as error:
            raise translate(error) from error
        return replace(
            self,
            user=table.column("user", self.user, column_names.USER),
            item=table.column("item", self.item, column_names.EVENT_ITEM),
            time=table.column("time", self.time, column_names.TIME),
            action="" if has_action else table.column("action", self.action, column_names.ACTION),
            rating=table.column("rating", self.rating, (), required=False),
            id=table.column("id", self.id, column_names.EVENT, required=False),
            cover=table.column("cover", self.cover, column_names.EVENT_COVER, required=False),
            decision=table.column("decision", self.decision, column_names.DECISION, required=False),
            dwell_ms=table.column("dwell_ms", self.dwell_ms, column_names.DWELL, required=False),
        )

    @property
    def words(self) -> str:
        """How resolved columns are understood."""
        source = repr(self.action or self.rating) if self.constant is None else self.constant.name.lower()
        return f"user from {self.user!r}, item from {self.item!r}, time from {self.time!r}, action from {source}"


async def import_events(
    table: Table,
    profiles: ProfileStore,
    catalog: CatalogStore,
    encoder: Encoder,
    columns: EventColumns | None = None,
    progress: Progress = silent,
    options: ImportOptions | None = None,
    report: Report | None = None,
) -> Report:
    """Absorb every row. Events of unknown items are refused; known events and forgotten users count as unchanged.

    Raises InvalidInput for the table as a whole, also for ratings whose scale is not certain, StoreFull and Unavailable.
    """
    names, options, report = (columns or EventColumns()).resolve(table), options or ImportOptions(), report or Report()
    report.columns = names.words
    scale = _scale(table, names)
    covers = ShownCovers(catalog)
    anything = not options.check or (await catalog.counts())[0] > 0
    if not anything:
        report.note("there are no items yet, so it was not checked whether those of the events exist")
    storing = _Storing(profiles, report, options.check)
    async with storing:
        for batch in table.batches(BATCH):
            events = list[tuple[Row, Event]]()
            for row in report.readable(batch):
                try:
                    events.append((row, _event(row, names, scale)))
                except InvalidInput as error:
                    report.refuse(row.number, row.values.get(names.id, ""), str(error))
            events = _valid(events, report)
            item_ids = sorted({event.item_id for _, event in events})
            known = await catalog.known_items(item_ids) if anything else set(item_ids)
            others = await covers.of_other_items([event for _, event in events])
            good = []
            for n, (row, event) in enumerate(events):
                if n in others:
                    report.refuse(row.number, event.id, f"event.{others[n]}")
                elif event.item_id in known:
                    good.append(event)
                    if len(report.examples) < EXAMPLES:
                        report.example(row, **event._asdict() | {"action": event.action.name.lower()})
                else:
                    report.refuse(row.number, event.id, f"no item {shorten(event.item_id)}")
            await storing.start(good)
            report.end_batch()
            progress(table.fraction, report)
    if report.accepted and not options.check:
        await encode_users(profiles, encoder, lambda: progress(1.0, report), always=False)
    return report.settle(table)


class _Storing:
    """Events are absorbed a batch at a time while the next batch is read; a batch counts when it is stored."""

    def __init__(self, profiles: ProfileStore, report: Report, check: bool) -> None:
        self._profiles, self._report, self._check = profiles, report, check
        self._running: asyncio.Task[None] | None = None

    async def start(self, events: list[Event]) -> None:
        """Wait for the batch before, and begin with this one."""
        await self._wait()
        if self._check:
            self._report.accepted += len(events)
        elif events:
            self._running = asyncio.create_task(self._store(events))

    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None:
        await self._wait()

    async def _wait(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            await running

    async def _store(self, events: list[Event]) -> None:
        new = await self._profiles.absorb(events, LATER)
        self._report.accepted += new
        self._report.unchanged += len(events) - new


def _valid(events: list[tuple[Row, Event]], report: Report) -> list[tuple[Row, Event]]:
    """The events that pass the checks, which are made for all at once; only if they fail each is checked, and refused by name."""
    users, now = {event.user_id for _, event in events}, time.time()
    check = Check()
    for user in users:
        check_id(check, "event.user_id", user)
    if not check.violations and Check.all_valid([event for _, event in events], now):
        return events
    good = []
    for row, event in events:
        check = Check()
        check.event("event", event, now)
        check_id(check, "event.user_id", event.user_id)
        try:
            check.done()
        except InvalidInput as error:
            report.refuse(row.number, event.id, str(error))
        else:
            good.append((row, event))
    return good


def _scale(table: Table, columns: EventColumns) -> RatingScale:
    """The stated scale, or five stars after a look at all ratings of the table."""
    if not columns.rating:
        return RatingScale()
    try:
        if columns.scale:
            return RatingScale.parse(columns.scale)
        return RatingScale.of(row.values.get(columns.rating, "") for batch in table.batches(BATCH) for row in batch)
    except InputError as error:
        raise translate(error) from error


def _event(row: Row, columns: EventColumns, scale: RatingScale) -> Event:
    cell = partial(text_of, row) if row.unfit else row.values.get
    user, item = cell(columns.user) or "", cell(columns.item) or ""
    try:
        action = _action(row, columns, scale)
        at = seconds(row.text(columns.time), unit=columns.time_unit, form=columns.time_format)
    except InputError as error:
        raise translate(error) from error
    dwell = optional(cell(columns.dwell_ms) or "")
    return Event(
        cell(columns.id) or event_id(user, item, action, at),
        user,
        item,
        action,
        at,
        cell(columns.cover) or "",
        cell(columns.decision) or "",
        int(_number("dwell_ms", dwell)) if dwell else 0,
    )


def event_id(user: str, item: str, action: Action, at: float) -> str:
    """The id of an event without one; equal events get equal ids."""
    names = user + item
    if names.isascii() and names.isprintable() and '"' not in names and "\\" not in names:
        text = f'["{user}", "{item}", {int(action)}, {at!r}]'  # as json.dumps, in a tenth of the time
    else:
        text = json.dumps([user, item, int(action), at])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _action(row: Row, columns: EventColumns, scale: RatingScale) -> Action:
    if columns.constant is not None:
        return columns.constant
    if columns.rating:
        return Action[rating_scale.meaning(scale.stars(row.text(columns.rating))).upper()]
    text = row.text(columns.action)
    if (known := _ACTIONS.get(text)) is not None:
        return known
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
