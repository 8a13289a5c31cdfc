"""A profile takes in events, one after the other. Pure; how arrivals are cut into batches changes nothing.

Knows no store: stores bring the profile as it was and keep what comes out.
"""

from collections.abc import Sequence
from functools import lru_cache

from eyecatch.core.behaviour import bots, dwell
from eyecatch.core.behaviour.activity import counted
from eyecatch.core.behaviour.tokens import token
from eyecatch.core.types import RECENT_EVENTS, Action, Event, Position, Profile, Vector

# A user's events sit in one partition; after their number was raised, in two for a while.
MAX_POSITIONS = 4
# With the events of the window these are the ids by which a repetition is recognised.
OLDER_IDS = 20


_topic = lru_cache(64)(token)  # of few topics, for every event
_IMPRESSION, _made = Action.IMPRESSION, tuple.__new__  # of every event too; see core/bots.py


class Absorption:
    """A profile at work. Calls of `add` come in the order of arrival; `changed` says whether anything is to be stored, and
    `engaged` whether an engagement was new, which impressions are not: they say nothing of taste.

    A store may keep it in memory: `go_on` makes what was stored the state that the next events come to.

    With `window` False the profile keeps neither events nor ids: the store has a log of all of them.
    """

    def __init__(self, before: Profile, window: bool = True) -> None:
        self._before, self._window = before, window
        self._events = list(before.events)  # as `as_kept` made them
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
        """Whether the event was new. `known`: the store's log has it."""
        if position is not None and not self._moved(position):
            return False
        if known:
            return False
        id = token(event.id) if self._window else ""
        if id in self._ids:
            return False
        activity, action = self._activity, event.action
        weight, self._bots = bots.judged(self._bots, activity.at, event)
        self._activity = counted(activity, action, event.time, weight)
        self.new.append(event)
        self.weights.append(weight)
        self.changed = True
        if action is not _IMPRESSION:
            self.engaged = True
        if self._window:
            self._ids.add(id)
            self._keep(event, id, weight)
        return True

    def _moved(self, position: Position) -> bool:
        """Note the position; False if it is not behind the last one of its partition."""
        topic, partition, offset = position
        positions = self._positions
        if positions and positions[0].partition == partition and positions[0].topic == topic:  # as nearly always
            if offset <= positions[0].offset:
                return False
            positions[0] = position
            self.changed = True
            return True
        name = _topic(topic)
        for n, held in enumerate(positions):
            if held.partition == partition and _topic(held.topic) == name:
                if offset <= held.offset:
                    return False
                del positions[n]
                break
        positions.insert(0, position)
        del positions[MAX_POSITIONS:]
        self.changed = True
        return True

    def _keep(self, event: Event, id: str, weight: float) -> None:
        """Put the event into the window, newest first and of equal times the later arrival first; let one go if it is full."""
        events, impression = self._events, event.action is _IMPRESSION
        # Impressions say nothing of taste: they must not push engagements out.
        if weight < bots.KEEP or (impression and not self._impressions and len(events) >= RECENT_EVENTS):
            self._leave(id)
            return
        kept = as_kept(event, id)
        newest = not events or events[0].time <= kept.time  # as nearly always
        place = 0 if newest else next((n for n, e in enumerate(events) if e.time <= kept.time), len(events))
        events.insert(place, kept)
        self._impressions += impression
        if len(events) > RECENT_EVENTS:
            out = len(events) - 1
            if self._impressions:
                self._impressions -= 1
                while events[out].action is not _IMPRESSION:
                    out -= 1
            self._leave(events.pop(out).id)

    def _leave(self, id: str) -> None:
        self._older.insert(0, id)
        if len(self._older) > OLDER_IDS:
            self._ids.discard(self._older.pop())

    def stale(self, encoder: int) -> bool:
        """Whether an encoder of this version would make another embedding of the events, as far as can be told without it."""
        return self.engaged or (bool(self.new) and self._before.encoder != encoder)

    @property
    def engagements(self) -> Sequence[Event]:
        """What the encoder sees of the window, newest first."""
        return [event for event in self._events if event.action is not _IMPRESSION]

    def profile(self, now: float, embedding: Vector | None = None, encoder: int = 0) -> Profile:
        """The profile afterwards, `now` in UNIX seconds; without an embedding (nothing was new) the old one stays."""
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

    def go_on(self, stored: Profile) -> None:
        """`stored` is what `profile` gave: nothing is new any more."""
        self._before = stored
        self.new, self.weights, self.changed, self.engaged = [], [], False, False


def as_kept(event: Event, id: str = "") -> Event:
    """What a window keeps of an event: its id's token, its time to the millisecond, its dwell's bucket, and no decision.

    Events take this form as they enter, so that the user embedding does not depend on when the profile was stored in between.
    `id` is the token, where it is known already.
    """
    full_id, user_id, item_id, action, time, cover_id, _, dwell_ms = event
    dwell_ms = dwell_ms and dwell.milliseconds(dwell.bucket(dwell_ms))
    time = round(time * 1000) / 1000
    return _made(Event, (id or token(full_id), user_id, item_id, action, time, cover_id, "", dwell_ms))
