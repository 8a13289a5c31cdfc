"""Adding events to a profile, one after the other. Pure: the result does not depend on how arrivals are cut into batches.

Knows no store: a store reads the profile, calls this and writes the result.
"""

from collections.abc import Sequence
from functools import lru_cache

from eyecatch.core.behaviour import bots, dwell
from eyecatch.core.behaviour.activity import add_event
from eyecatch.core.behaviour.tokens import token
from eyecatch.core.types import RECENT_EVENTS, Action, Event, Position, Profile, Vector

# A user's events are in one partition; for a while in two after the number of partitions was raised.
MAX_POSITIONS = 4
# Repetitions are recognised by these ids and by those of the events in the window.
OLDER_IDS = 20


_topic = lru_cache(64)(token)  # called for every event; there are few topics
_IMPRESSION, _new_tuple = Action.IMPRESSION, tuple.__new__  # for speed, see bots.py


class Absorption:
    """A profile to which events are added. Call `add` in the order of arrival.

    `changed`: whether there is anything to store. `engaged`: whether an engagement was new; impressions are none, because they
    carry no taste. A store may keep the object in memory: after a write, `rebase` takes the stored profile as the new start.
    With `window` False the profile holds neither events nor ids: the store has a log of all of them.
    """

    def __init__(self, before: Profile, window: bool = True) -> None:
        self._before, self._window = before, window
        self._events = list(before.events)  # in the form of `compact_event`
        self._impressions = sum(event.action is _IMPRESSION for event in self._events)
        self._older = list(before.recent_ids[:OLDER_IDS])
        self._ids = {event.id for event in self._events} | set(self._older)
        self._positions = list(before.positions)
        self._activity, self._bots = before.activity, before.bots
        self.new: list[Event] = []
        self.weights: list[float] = []
        self.changed = False
        self.engaged = False

    def add(self, event: Event, position: Position | None = None, known: bool = False) -> bool:
        """Add an event; returns whether it was new. `known`: the store's log already has it."""
        if (position is not None and not self._advance(position)) or known:
            return False
        id = token(event.id) if self._window else ""
        if id in self._ids:
            return False
        activity, action = self._activity, event.action
        weight, self._bots = bots.weigh(self._bots, activity.at, event)
        self._activity = add_event(activity, action, event.time, weight)
        self.new.append(event)
        self.weights.append(weight)
        self.changed = True
        if action is not _IMPRESSION:
            self.engaged = True
        if self._window:
            self._ids.add(id)
            self._insert(event, id, weight)
        return True

    def _advance(self, position: Position) -> bool:
        """Remember the position; False if it is not after the last one of its partition."""
        topic, partition, offset = position
        positions = self._positions
        if positions and positions[0].partition == partition and positions[0].topic == topic:  # the usual case
            if offset <= positions[0].offset:
                return False
            positions[0] = position
            self.changed = True
            return True
        name = _topic(topic)
        for n, last in enumerate(positions):
            if last.partition == partition and _topic(last.topic) == name:
                if offset <= last.offset:
                    return False
                del positions[n]
                break
        positions.insert(0, position)
        del positions[MAX_POSITIONS:]
        self.changed = True
        return True

    def _insert(self, event: Event, id: str, weight: float) -> None:
        """Put the event into the window: newest first, and for equal times the later arrival first. A full window drops one."""
        events, impression = self._events, event.action is _IMPRESSION
        # Impressions carry no taste, so they must not push engagements out.
        if weight < bots.KEEP or (impression and not self._impressions and len(events) >= RECENT_EVENTS):
            self._remember(id)
            return
        compact = compact_event(event, id)
        newest = not events or events[0].time <= compact.time  # the usual case
        index = 0 if newest else next((n for n, e in enumerate(events) if e.time <= compact.time), len(events))
        events.insert(index, compact)
        self._impressions += impression
        if len(events) > RECENT_EVENTS:
            out = len(events) - 1
            if self._impressions:
                self._impressions -= 1
                while events[out].action is not _IMPRESSION:
                    out -= 1
            self._remember(events.pop(out).id)

    def _remember(self, id: str) -> None:
        """Keep the id of an event that is not in the window."""
        self._older.insert(0, id)
        if len(self._older) > OLDER_IDS:
            self._ids.discard(self._older.pop())

    def stale(self, encoder: int) -> bool:
        """Whether an encoder of this version may give another embedding than the stored one."""
        return self.engaged or (bool(self.new) and self._before.encoder != encoder)

    @property
    def engagements(self) -> Sequence[Event]:
        """The events of the window that the encoder reads, newest first."""
        return [event for event in self._events if event.action is not _IMPRESSION]

    def profile(self, now: float, embedding: Vector | None = None, encoder: int = 0) -> Profile:
        """The profile with the new events, `now` in UNIX seconds. Without an embedding the old one stays."""
        before = self._before
        return Profile(
            before.user_id,
            before.embedding if embedding is None else embedding,
            before.event_count + len(self.new),
            now,
            tuple(self._positions),
            tuple(self._events),
            tuple(self._older),
            self._activity,
            self._bots,
            before.encoder if embedding is None else encoder,
        )

    def rebase(self, stored: Profile) -> None:
        """Start again from `stored`, the last result of `profile`: no event is new any more."""
        self._before = stored
        self.new, self.weights, self.changed, self.engaged = [], [], False, False


def compact_event(event: Event, id: str = "") -> Event:
    """The part of an event that a window holds: the token of its id, its time in whole milliseconds, its dwell's bucket, no decision.

    Events get this form as they enter, so that the user embedding does not depend on when the profile was stored.
    `id` is the token if it is known already.
    """
    full_id, user_id, item_id, action, time, cover_id, _, dwell_ms = event
    dwell_ms = dwell_ms and dwell.milliseconds(dwell.bucket(dwell_ms))
    time = round(time * 1000) / 1000
    return _new_tuple(Event, (id or token(full_id), user_id, item_id, action, time, cover_id, "", dwell_ms))
