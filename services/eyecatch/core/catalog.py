"""The verb behind every way items come in: pictures -> blobs, catalogue covers with embedding and rewards, one transaction."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eyecatch.core.ports import Blobs, CatalogStore, CoverIndex, Generator
from eyecatch.core.types import Cover, Item, Origin, Provenance


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded and normalised picture: encoded bytes with their size in pixels, or the URI of a blob already stored."""

    data: bytes = b""
    width: int = 0
    height: int = 0
    uri: str = ""


@dataclass(frozen=True)
class OwnCover:
    """A cover that comes with its own id, as in the caller's impression logs."""

    id: str
    item: Item
    picture: Picture


@dataclass(frozen=True)
class Incoming:
    """An item to store. `pictures` empty keeps the pictures the item had."""

    item: Item
    pictures: tuple[Picture, ...] = ()


def catalog_cover_id(item_id: str, uri: str) -> str:
    """The same picture of the same item always is the same cover."""
    return hashlib.sha256(f"{item_id}\n{uri}".encode()).hexdigest()[:24]


class Catalog:
    """Adds and removes items; the pools and the index follow."""

    def __init__(self, store: CatalogStore, blobs: Blobs, generator: Generator, index: CoverIndex) -> None:
        self.store, self._blobs, self._generator, self._index = store, blobs, generator, index

    async def upsert(self, incoming: Sequence[Incoming]) -> list[Item]:
        """Store items, all or none; each picture becomes a reference and a catalogue cover. Raises Unavailable, StoreFull."""
        now = time.time()
        new = [OwnCover("", i.item, p) for i in incoming for p in i.pictures if p.data]
        covers = await self._covers(new, now)
        uris = {id(n.picture): c.uri for n, c in zip(new, covers, strict=True)}
        items, stale = [], []
        for i in incoming:
            references = tuple(uris.get(id(p), p.uri) for p in i.pictures)
            old = await self.store.item(i.item.id)
            if not references and old:
                references = old.references
            elif old:
                pool = (await self.store.pools([i.item.id])).get(i.item.id, ())
                gone = set(old.references) - set(references)
                stale += [c.id for c in pool if c.id == catalog_cover_id(i.item.id, c.uri) and c.uri in gone]
            items.append(replace(i.item, references=references, updated_at=now))
        await self.store.upsert_items(items, covers)
        if covers:
            self._index.add([c.id for c in covers], np.stack([c.embedding for c in covers]))
        await self._remove(stale)
        return items

    async def add_covers(self, own: Sequence[OwnCover]) -> list[Cover]:
        """Add catalogue covers of items that exist, or replace them by id."""
        covers = await self._covers(own, time.time())
        await self.store.add_covers(covers)
        if covers:
            self._index.add([c.id for c in covers], np.stack([c.embedding for c in covers]))
        return covers

    async def _covers(self, own: Sequence[OwnCover], now: float) -> list[Cover]:
        if not own:
            return []
        scored = await self._generator.score([o.picture.data for o in own], [o.item.title for o in own])
        # Together: a disk that syncs one file waits as long as for many.
        uris = await asyncio.gather(*(self._blobs.put(o.picture.data, "webp") for o in own))
        return [
            Cover(
                id=o.id or catalog_cover_id(o.item.id, uri),
                item_id=o.item.id,
                uri=uri,
                embedding=s.embedding,
                rewards=s.rewards,
                provenance=Provenance(Origin.CATALOGUE),
                width=o.picture.width,
                height=o.picture.height,
                created_at=now,
            )
            for o, uri, s in zip(own, uris, scored, strict=True)
        ]

    async def delete(self, item_id: str) -> int | None:
        """Remove the item with its covers and their images; how many covers, or None if there was no such item."""
        pool = (await self.store.pools([item_id])).get(item_id, ())
        uris = await self.store.delete_item(item_id)
        if uris is None:
            return None
        self._index.remove([c.id for c in pool])
        for uri in uris:
            await self._blobs.delete(uri)
        return len(pool)

    async def _remove(self, cover_ids: Sequence[str]) -> None:
        if cover_ids:
            self._index.remove(cover_ids)
            for uri in await self.store.remove_covers(cover_ids):
                await self._blobs.delete(uri)
