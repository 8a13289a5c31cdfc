"""A catalogue and the behaviour of its users, for benchmarks: simulated, but of realistic sizes and shares."""

import time
from collections.abc import Iterator

import numpy as np
from eyecatch.core.ports import CatalogStore
from eyecatch.core.types import EMBEDDING_DIM, Action, Cover, Event, Item

ITEMS, COVERS = 1000, 16
# A screen of covers is shown for every few clicks.
SHARES = {
    Action.IMPRESSION: 0.70,
    Action.CLICK: 0.14,
    Action.DWELL: 0.10,
    Action.LIKE: 0.04,
    Action.DISLIKE: 0.01,
    Action.PURCHASE: 0.01,
}
# Events a second of all users together, by their own clocks.
PACE = 20.0


async def fill(catalog: CatalogStore) -> None:
    """ITEMS items with COVERS covers each, of random unit embeddings."""
    rng = np.random.default_rng(0)
    for first in range(0, ITEMS, 100):
        items = [Item(f"item-{i:05}", f"Title number {i}") for i in range(first, first + 100)]
        rows = rng.standard_normal((len(items) * COVERS, EMBEDDING_DIM)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        covers = [
            Cover(_cover(first + n // COVERS, n % COVERS), items[n // COVERS].id, f"blob:{n:064x}.webp", row)
            for n, row in enumerate(rows)
        ]
        await catalog.upsert_items(items, covers)


def _cover(item: int, cover: int) -> str:
    return f"{item * COVERS + cover:024x}"


def events(count: int, users: int, seed: int = 1) -> Iterator[Event]:
    """In the order of time, up to now. Users and items are drawn like 1/rank, users a little flatter: some do a hundred times as much."""
    rng = np.random.default_rng(seed)

    def sampled(n: int, power: float) -> np.ndarray:
        weights = np.arange(1, n + 1) ** -power
        return rng.choice(n, count, p=weights / weights.sum())

    who, what, which = sampled(users, 0.8), sampled(ITEMS, 1.0), rng.integers(COVERS, size=count)
    actions = rng.choice(list(SHARES), count, p=list(SHARES.values()))
    dwells, ids = rng.integers(500, 60_000, count), rng.integers(1 << 62, size=count)
    began = time.time() - count / PACE
    for n in range(count):
        action = Action(int(actions[n]))
        dwell_ms = int(dwells[n]) if action is Action.DWELL else 0
        yield Event(
            f"{ids[n]:016x}-{n:015x}",
            f"user-{who[n]:08}",
            f"item-{what[n]:05}",
            action,
            began + n / PACE,
            _cover(int(what[n]), int(which[n])),
            f"{n // 20:028x}",
            dwell_ms,
        )
