"""Limits of all input. Every refusal names the field, the value and what is allowed. Knows no wire."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput, Violation, shorten
from eyecatch.core.types import Action, Event, Item, Vector

MAX_ID = 128
MAX_TITLE = 512
MAX_CATEGORY = 128
MAX_RECOMMEND_ITEMS = 500
MAX_COVERS_PER_ITEM = 16
MAX_GENERATE = 16
MAX_BATCH = 1000
MAX_REFERENCES = 8
MAX_COVERS = 50
MAX_PAGE = 1000
MAX_VECTOR = 1024
MAX_DWELL_MS = 24 * 3600 * 1000
# Clocks of phones drift by up to an hour. An event further in the future would stay the newest for ever.
MAX_CLOCK_AHEAD_S = 3600.0

# Directional embeddings, overrides and isolates reorder the text around them: a title could rewrite a log line.
# Letters of right-to-left scripts and the LRM/RLM marks stay allowed.
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass
class Check:
    """Collects the violations of a request, so that a caller gets all of them at once."""

    violations: list[Violation] = field(default_factory=list)

    def refuse(self, field: str, value: object, allowed: str) -> None:
        self.violations.append(Violation(field, shorten(value), allowed))

    def done(self) -> None:
        """Raises InvalidInput if anything was refused."""
        if self.violations:
            raise InvalidInput(self.violations[:50])

    def id(self, field: str, value: str, optional: bool = False) -> None:
        if optional and not value:
            return
        if not 1 <= len(value) <= MAX_ID or not value.isprintable() or value != value.strip():
            self.refuse(field, value, f"1 to {MAX_ID} printable characters without spaces at the ends")

    def drawing(self, prefix: str, drawing: Drawing) -> None:
        """Check every knob; field names are `prefix` and the knob's name."""
        self.violations += drawing.violations(prefix)

    def text(self, field: str, value: str, limit: int, optional: bool = False) -> None:
        """Text such as a title: emoji and all scripts are allowed, control and direction-override characters are not."""
        if len(value) > limit:
            self.refuse(field, f"{len(value)} characters", f"at most {limit}")
            return
        if not optional and not value.strip():
            self.refuse(field, value, "not empty")
        bad = next((c for c in value if c in BIDI_CONTROLS or unicodedata.category(c) in ("Cc", "Cs")), None)
        if bad is not None:
            self.refuse(field, f"U+{ord(bad):04X}", "no control, surrogate or direction-override characters")

    def count(self, field: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            self.refuse(field, value, f"{low} to {high}")

    def vector(self, field: str, values: Vector, width: int = 0) -> None:
        """A vector (W,) of a model outside Eyecatch. `width`: the only W that is allowed, 0 for any up to MAX_VECTOR."""
        if not 1 <= len(values) <= MAX_VECTOR:
            self.refuse(field, f"{len(values)} numbers", f"1 to {MAX_VECTOR}")
        elif width and len(values) != width:
            self.refuse(field, f"{len(values)} numbers", f"{width}, as in the other vectors")
        elif not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            self.refuse(f"{field}[{bad}]", float(values[bad]), "a finite number of 32 bits")
        elif not values.any():
            self.refuse(field, "zeros alone", "at least one other number")

    @staticmethod
    def all_valid_ids(values: list[str]) -> bool:
        """A fast check that all are valid ids and none occurs twice. False only means that each has to be checked."""
        unique, joined = set(values), "".join(values)
        return (
            len(unique) == len(values)
            and "" not in unique
            and joined.isprintable()
            and " " not in joined
            and max(map(len, values), default=0) <= MAX_ID
        )

    def ids(self, field: str, values: list[str]) -> None:
        """Check that each is a valid id and occurs once. One fast check covers all; only if it fails each is checked."""
        if self.all_valid_ids(values):
            return
        earlier: set[str] = set()
        for i, value in enumerate(values):
            self.id(f"{field}[{i}]", value)
            if value in earlier:
                self.refuse(f"{field}[{i}]", value, "each id once")
            earlier.add(value)

    def item(self, field: str, item: Item) -> None:
        self.id(f"{field}.id", item.id)
        self.text(f"{field}.title", item.title, MAX_TITLE)
        self.text(f"{field}.category", item.category, MAX_CATEGORY, optional=True)

    @staticmethod
    def is_valid(event: Event, now: float) -> bool:
        """A fast check of one event. False only means that `event` has to check it field by field."""
        id, user_id, item_id, action, at, cover_id, decision_id, dwell_ms = event
        ids = id + user_id + item_id + cover_id + decision_id
        return (
            ids.isprintable()
            and " " not in ids
            and 1 <= len(id) <= MAX_ID
            and 1 <= len(user_id) <= MAX_ID
            and 1 <= len(item_id) <= MAX_ID
            and len(cover_id) <= MAX_ID
            and len(decision_id) <= MAX_ID
            and isinstance(action, Action)
            and 0.0 < at <= now + MAX_CLOCK_AHEAD_S
            and 0 <= dwell_ms <= MAX_DWELL_MS
        )

    @staticmethod
    def all_valid(events: Sequence[Event], now: float) -> bool:
        """`is_valid` for all events, column by column."""
        if not events:
            return True
        ids, users, items, actions, times, covers, decisions, dwells = zip(*events, strict=True)
        texts = "".join(["".join(column) for column in (ids, users, items, covers, decisions)])
        return (
            texts.isprintable()
            and " " not in texts
            and all(ids)
            and all(users)
            and all(items)
            and max(max(map(len, column)) for column in (ids, users, items, covers, decisions)) <= MAX_ID
            and set(map(type, actions)) == {Action}
            and min(times) > 0.0
            and max(times) <= now + MAX_CLOCK_AHEAD_S
            and math.isfinite(sum(times))  # min and max pass over a NaN
            and min(dwells) >= 0
            and max(dwells) <= MAX_DWELL_MS
        )

    def event(self, field: str, event: Event, now: float) -> None:
        if self.is_valid(event, now):
            return
        self.id(f"{field}.id", event.id)
        self.id(f"{field}.user_id", event.user_id)
        self.id(f"{field}.item_id", event.item_id)
        self.id(f"{field}.cover_id", event.cover_id, optional=True)
        self.id(f"{field}.decision_id", event.decision_id, optional=True)
        if event.action not in Action:
            self.refuse(f"{field}.action", event.action, "one of " + ", ".join(a.name for a in Action))
        if not (math.isfinite(event.time) and 0.0 < event.time <= now + MAX_CLOCK_AHEAD_S):
            self.refuse(
                f"{field}.time", event.time, "UNIX seconds after 1970 and at most one hour ahead of the server's clock"
            )
        self.count(f"{field}.dwell_ms", event.dwell_ms, 0, MAX_DWELL_MS)


def check_id(field: str, value: str) -> None:
    """Raises InvalidInput if `value` is not a valid id."""
    check = Check()
    check.id(field, value)
    check.done()
