"""Items, pictures and events in any order give the same state."""

from itertools import permutations
from pathlib import Path

import numpy as np
from eyecatch.core.catalog import Catalog
from eyecatch.core.types import Vector
from eyecatch.importing import import_events, import_items
from eyecatch.importing.covers import import_covers
from eyecatch.importing.tastes import encode_users
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.sqlite import SqliteStore

from tests.contracts.builders import MEAN
from tests.unit.importing.conftest import Home
from tests.unit.importing.fakes import HistogramGenerator
from tests.unit.importing.test_items import csv

STEPS = ("items", "pictures", "covers", "events")
ITEMS = [f"{n},Item {n}" for n in range(6)]
EVENTS = [f"u{user},{n},click,{1_700_000_000 + 60 * n + user}" for user in range(3) for n in range(user, 6, 2)]


async def step(home: Home, shop: Path, name: str) -> None:
    """One import, as the commands do it."""
    stores = (home.catalog, home.blobs)
    if name == "events":
        table = csv(shop, "user,item,action,time", *EVENTS, name="events.csv")
        await import_events(table, home.store.profiles, home.store.catalog, MEAN)
        return
    if name == "covers":
        table = csv(shop, "cover_id,item_id,image", "c0,0,pictures/9.png", "c3,3,pictures/8.png")
        await import_covers(table, shop, *stores, home.store.notes)
    elif name == "items":
        await import_items(csv(shop, "id,title", *ITEMS), shop, *stores)
    else:
        lines = [f"{line},pictures/{n}.png" for n, line in enumerate(ITEMS)]
        await import_items(csv(shop, "id,title,image", *lines), shop, *stores)
    await encode_users(home.store.profiles, MEAN)


async def state(home: Home) -> tuple[list[Vector | None], list[list[str]], list[str]]:
    tastes = [await home.store.profiles.embedding(f"u{user}", MEAN) for user in range(3)]
    pools = await home.store.catalog.pools([str(n) for n in range(6)])
    events = sorted(event.id for _, event in await home.store.profiles.events())
    return tastes, [sorted(cover.id for cover in pools[str(n)]) for n in range(6)], events


def opened(folder: Path) -> Home:
    store, blobs, generator = SqliteStore.open(folder), FsspecBlobs(str(folder / "blobs")), HistogramGenerator()
    return Home(store, blobs, generator, Catalog(store.catalog, blobs, generator, FaissIndex()))


async def test_any_order_gives_the_same_state(shop: Path, tmp_path: Path) -> None:
    """Each order is repeated, since events of items that are not there yet are refused."""
    ends = []
    for order in permutations(STEPS):
        home = opened(tmp_path / "-".join(order))
        for name in (*order, *order):
            await step(home, shop, name)
        ends.append(await state(home))
        home.store.close()
    tastes, pools, events = ends[0]
    assert ([len(pool) for pool in pools], len(events)) == ([2, 1, 1, 2, 1, 1], len(EVENTS))
    for other_tastes, other_pools, other_events in ends:
        assert (other_pools, other_events) == (pools, events)
        for one, other in zip(tastes, other_tastes, strict=True):
            assert one is not None
            assert other is not None
            assert np.abs(one - other).max() < 0.01  # stored with eight bits a number


async def test_a_user_whose_items_get_pictures_later_gets_a_taste(home: Home, shop: Path) -> None:
    for name in ("items", "events"):
        await step(home, shop, name)
    assert await home.store.profiles.embedding("u0", MEAN) is None
    await step(home, shop, "pictures")
    assert await home.store.profiles.embedding("u0", MEAN) is not None
