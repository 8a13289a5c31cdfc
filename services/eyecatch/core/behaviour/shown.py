"""Finds events about a cover of another item: they would give the taste of one item's cover to another. Knows no sink of events."""

from collections.abc import Sequence

from cachetools import LRUCache

from eyecatch.core.errors import Violation, shorten
from eyecatch.core.ports import CatalogStore
from eyecatch.core.types import Event

REMEMBERED = 100_000


class ShownCovers:
    """The items of covers. What it remembers only lets events pass: before one is refused, the store is unsure."""

    def __init__(self, catalog: CatalogStore) -> None:
        self._catalog = catalog
        self._items: LRUCache[str, str] = LRUCache(REMEMBERED)

    async def of_other_items(self, events: Sequence[Event]) -> dict[int, Violation]:
        """Why events are refused, by their index in `events`. An unknown cover is not refused: it may have been deleted since.

        Raises Unavailable.
        """
        items = self._items
        unsure = [n for n, e in enumerate(events) if e.cover_id and items.get(e.cover_id) != e.item_id]
        if not unsure:
            return {}
        known = await self._catalog.items_of(list({events[n].cover_id for n in unsure}))
        items.update(known)
        return {
            n: Violation(
                "cover_id", shorten(events[n].cover_id), f"a cover of the item {shorten(events[n].item_id)}, or none"
            )
            for n in unsure
            if known.get(events[n].cover_id, events[n].item_id) != events[n].item_id
        }
