"""Stored behaviour and catalogue -> numbered users and items, for measuring recall. What cannot be used is counted by its reason.

Knows the ports, no store and no model.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from icg.data.interactions import Interactions
from numpy.typing import NDArray

from eyecatch.core.behaviour.tokens import user_tag
from eyecatch.core.errors import InvalidInput
from eyecatch.core.ports import CatalogStore, ProfileStore
from eyecatch.core.types import EMBEDDING_DIM, Action, Cover, Event, Item, Origin, Vector

ENGAGED = frozenset({Action.CLICK, Action.LIKE, Action.PURCHASE, Action.DWELL})
TARGETS: Mapping[str, frozenset[Action]] = {
    "engaged": ENGAGED,
    "liked": frozenset({Action.LIKE, Action.PURCHASE}),
}
"""What may be hidden and is to be predicted, by the name of the option."""
PAGE = 1_000

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Covers:
    """rows (C, D) embeddings ordered by item, item_of (C,) item numbers, ascending, generated (C,) bool: drawn by a generator,
    made_for (C,) the tag of a user or "", taste (C,) a cluster or -1, uri (C,)."""

    rows: Vector
    item_of: Ints
    generated: NDArray[np.bool_]
    made_for: tuple[str, ...]
    taste: Ints
    uri: tuple[str, ...]
    by_key: Mapping[str, Vector]


@dataclass(frozen=True, eq=False)
class BehaviourTable:
    """table: events of known items; events: the same in the same order. users: ids, sorted. counts: what is odd, by reason."""

    items: Sequence[Item]
    covers: Covers
    users: Sequence[str]
    table: Interactions
    events: Sequence[Event]
    counts: Mapping[str, int] = field(default_factory=dict)

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
    events: list[Event] = []
    everybody: set[str] = set()
    after = 0
    known: set[tuple[str, str, int, float]] = set()
    while batch := await profiles.events(after, 10_000):
        after = batch[-1][0]
        for _, event in batch:
            everybody.add(event.user_id)
            key = (event.user_id, event.item_id, int(event.action), event.time)
            if event.item_id not in number:
                counts["events of unknown items"] += 1
            elif key in known:
                counts["events told twice"] += 1
            else:
                known.add(key)
                events.append(event)
    users = sorted({event.user_id for event in events})
    counts["users without an event of a known item"] = len(everybody) - len(users)
    row = {user: n for n, user in enumerate(users)}
    columns = (
        np.array([row[e.user_id] for e in events], np.int64),
        np.array([number[e.item_id] for e in events], np.int64),
        np.array([e.time for e in events], np.float64),
        np.array([int(e.action) for e in events], np.int64),
        np.array([e.action in TARGETS[target] for e in events], bool),
    )
    order = np.lexsort((columns[2], columns[0]))  # as Interactions orders them
    table = Interactions.of(*columns, len(users), len(items))
    per_user = np.bincount(table.user, minlength=len(users))
    counts["users with one event"] = int((per_user == 1).sum())
    engaged = np.bincount(table.user[table.positive], minlength=len(users))
    counts[f"users who {target} nothing" if target == "liked" else "users who engaged with nothing"] = int(
        (engaged == 0).sum()
    )
    same = (np.diff(table.time) == 0) & (np.diff(table.user) == 0)
    counts["events at the time of the user's event before"] = int(same.sum())
    return BehaviourTable(items, covers, users, table, [events[n] for n in order], dict(counts))


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
    pictured = set(item_of[~generated].tolist())
    by_key: dict[str, Vector] = {c.id: c.embedding for _, c in rows_by_item}
    by_key |= {Event("", "", id, Action.CLICK, 0.0).cover_key: means[n] for id, n in number.items() if n in pictured}
    return Covers(
        rows,
        item_of,
        generated,
        tuple(c.provenance.made_for for _, c in rows_by_item),
        np.array([c.taste for _, c in rows_by_item], np.int64),
        tuple(c.uri for _, c in rows_by_item),
        by_key,
    )
