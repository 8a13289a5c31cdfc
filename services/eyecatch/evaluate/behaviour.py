"""Stored behaviour and catalogue -> numbered users and items, for measuring recall. What cannot be used is counted by its reason.

Knows the ports, no store and no model.
"""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from icg.data.interactions import Interactions
from numpy.typing import NDArray

from eyecatch.core.behaviour.tokens import user_tag
from eyecatch.core.errors import InvalidInput
from eyecatch.core.ports import CatalogStore, ProfileStore
from eyecatch.core.types import EMBEDDING_DIM, Action, Cover, Item, Origin, Vector

ENGAGED = frozenset({Action.CLICK, Action.LIKE, Action.PURCHASE, Action.DWELL})
TARGETS: Mapping[str, frozenset[Action]] = {
    "engaged": ENGAGED,
    "liked": frozenset({Action.LIKE, Action.PURCHASE}),
}
"""What may be hidden and is to be predicted, by the name of the option."""
PAGE = 1_000
NO_COVER, GONE = -1, -2
"""Of an event that names no cover, and of one whose cover is not stored any more."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Covers:
    """rows (C, D) embeddings ordered by item, item_of (C,) item numbers, ascending, generated (C,) bool: drawn by a generator,
    made_for (C,) the tag of a user or "", taste (C,) a cluster or -1, uri (C,), ids (C,).

    means (items, D): direction of an item's own covers, zeros without any."""

    rows: Vector
    item_of: Ints
    generated: NDArray[np.bool_]
    made_for: tuple[str, ...]
    taste: Ints
    uri: tuple[str, ...]
    ids: tuple[str, ...]
    means: Vector


@dataclass(frozen=True, eq=False)
class BehaviourTable:
    """table: events of known items; in the same order shown (E,), the row of the cover that an event names, NO_COVER, or GONE if it is
    unknown, and dwell_ms (E,). users: ids, sorted. counts: what is odd, by reason. elsewhere: (user, time) of engagements with unknown
    items."""

    items: Sequence[Item]
    covers: Covers
    users: Sequence[str]
    table: Interactions
    shown: Ints
    dwell_ms: Ints
    counts: Mapping[str, int] = field(default_factory=dict)
    elsewhere: Sequence[tuple[int, float]] = ()

    def astray(self, least: int) -> int:
        """Users whose latest `least` engagements are all with items that the catalogue does not have."""
        latest = np.full(len(self.users), -np.inf)
        np.maximum.at(latest, self.table.user[self.table.positive], self.table.time[self.table.positive])
        later = Counter(user for user, time in self.elsewhere if time > latest[user])
        return sum(count >= least for count in later.values())

    def tags(self) -> list[str]:
        """As covers name the users that they were made for."""
        return [user_tag(user) for user in self.users]


async def read(catalog: CatalogStore, profiles: ProfileStore, target: str = "engaged") -> BehaviourTable:
    """All events and the catalogue. Memory is proportional to both.

    Raises InvalidInput for another `target` and for a catalogue without items.
    """
    if target not in TARGETS:
        raise InvalidInput.of("target", target, f"one of {', '.join(TARGETS)}")
    items: list[Item] = []
    page = await catalog.items(PAGE)
    items += page.rows
    while page.next_token:
        page = await catalog.items(PAGE, page.next_token)
        items += page.rows
    if not items:
        raise InvalidInput.of("items", 0, "a catalogue with items: eyecatch import items")
    number = {item.id: n for n, item in enumerate(items)}
    covers = await _covers(catalog, number)
    counts: Counter[str] = Counter()
    counts["items without a picture"] = len(items) - len(np.unique(covers.item_of[~covers.generated]))
    counts["items without a title"] = sum(not item.title for item in items)
    raw = await _events(profiles, number, {id: n for n, id in enumerate(covers.ids)}, TARGETS[target])
    counts["events of unknown items"] = raw.unknown
    counts["users without an event of a known item"] = len(raw.strangers)
    counts["users with a profile and no event in the log"] = max(
        0, await profiles.user_count() - len(raw.users) - len(raw.strangers)
    )
    users = sorted(raw.users)
    place = {user: n for n, user in enumerate(users)}
    user = np.array([place[id] for id in raw.users], np.int64)[raw.column(0)]
    item, action, shown, dwell_ms = (raw.column(n) for n in range(1, 5))
    time = np.frombuffer(raw.time, np.float64)
    # Of events that are alike the first counts. lexsort is stable.
    order = np.lexsort((time, action, item, user))
    alike = np.ones(len(order), bool)
    alike[:1] = False
    for column in (user, item, action, time):
        alike[1:] &= np.diff(column[order]) == 0
    counts["events told twice"] = int(alike.sum())
    keep = np.sort(order[~alike])
    columns = (user[keep], item[keep], time[keep], action[keep])
    target_actions = [int(a) for a in TARGETS[target]]
    table = Interactions.of(*columns, np.isin(columns[3], target_actions), len(users), len(items))
    order = keep[np.lexsort((columns[2], columns[0]))]  # as Interactions orders them
    per_user = np.bincount(table.user, minlength=len(users))
    counts["users with one event"] = int((per_user == 1).sum())
    engaged = np.bincount(table.user[table.positive], minlength=len(users))
    counts[f"users who {target} nothing" if target == "liked" else "users who engaged with nothing"] = int(
        (engaged == 0).sum()
    )
    same = (np.diff(table.time) == 0) & (np.diff(table.user) == 0)
    counts["events at the time of the user's event before"] = int(same.sum())
    elsewhere = [(place[user], time) for user, times in raw.elsewhere.items() if user in place for time in times]
    return BehaviourTable(items, covers, users, table, shown[order], dwell_ms[order], dict(counts), elsewhere)


class _Raw:
    """Events as numbers, forty bytes each: objects of millions of events do not fit into memory."""

    def __init__(self) -> None:
        self.numbers, self.time = array("q"), array("d")
        self.users: dict[str, int] = {}
        self.strangers: set[str] = set()
        self.elsewhere: dict[str, list[float]] = {}
        self.unknown = 0

    def column(self, n: int) -> Ints:
        """user (in the order of arrival), item, action, cover and dwell."""
        return np.frombuffer(self.numbers, np.int64).reshape(-1, 5)[:, n]


async def _events(
    profiles: ProfileStore, number: Mapping[str, int], covers: Mapping[str, int], targets: frozenset[Action]
) -> _Raw:
    raw, after = _Raw(), 0
    users, numbers, time = raw.users, raw.numbers, raw.time
    while batch := await profiles.events(after, 10_000):
        after = batch[-1][0]
        for _, event in batch:
            item = number.get(event.item_id)
            if item is None:
                raw.unknown += 1
                raw.strangers.add(event.user_id)
                if event.action in targets:
                    raw.elsewhere.setdefault(event.user_id, []).append(event.time)
                continue
            user = users.setdefault(event.user_id, len(users))
            cover = covers.get(event.cover_id, GONE) if event.cover_id else NO_COVER
            numbers.extend((user, item, event.action, cover, event.dwell_ms))
            time.append(event.time)
    raw.strangers.difference_update(users)
    return raw


async def _covers(catalog: CatalogStore, number: Mapping[str, int]) -> Covers:
    rows_by_item: list[tuple[int, Cover]] = []
    async for cover in catalog.all_covers():
        if cover.item_id in number:
            rows_by_item.append((number[cover.item_id], cover))
    rows_by_item.sort(key=lambda pair: (pair[0], pair[1].id))
    rows = (
        np.stack([c.embedding for _, c in rows_by_item]) if rows_by_item else np.empty((0, EMBEDDING_DIM), np.float32)
    )
    item_of = np.array([n for n, _ in rows_by_item], np.int64)
    generated = np.array([c.provenance.origin is Origin.GENERATED for _, c in rows_by_item], bool)
    means = np.zeros((len(number), EMBEDDING_DIM), np.float32)
    np.add.at(means, item_of[~generated], rows[~generated])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    return Covers(
        rows,
        item_of,
        generated,
        tuple(c.provenance.made_for for _, c in rows_by_item),
        np.array([c.taste for _, c in rows_by_item], np.int64),
        tuple(c.uri for _, c in rows_by_item),
        tuple(c.id for _, c in rows_by_item),
        means,
    )
