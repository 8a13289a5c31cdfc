"""Storing items, for the API and for imports: pictures -> blobs and catalogue covers with embedding and rewards, in one transaction."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eyecatch.core.generator import Generator
from eyecatch.core.ports import Blobs, CatalogStore, CoverIndex
from eyecatch.core.types import Cover, Item, Origin, Provenance


@dataclass(frozen=True, eq=False)
class Picture:
    """A normalised picture: encoded bytes and their size in pixels, or the URI of a stored blob.

    opaque: the picture over white if `data` has alpha, else empty.
    """

    data: bytes = b""
    width: int = 0
    height: int = 0
    uri: str = ""
    opaque: bytes = b""

    @property
    def cover(self) -> bytes:
        """What a catalogue cover shows."""
        return self.opaque or self.data


@dataclass(frozen=True)
class IncomingCover:
    """A catalogue cover to store. `id` is the caller's own, as in impression logs; "" for one computed from item and picture."""

    id: str
    item: Item
    picture: Picture


@dataclass(frozen=True)
class IncomingItem:
    """An item to store. Without `pictures` the item keeps those it has."""

    item: Item
    pictures: tuple[Picture, ...] = ()


def catalog_cover_id(item_id: str, uri: str) -> str:
    """The same picture of the same item always gets the same cover id. uri: of the item's reference, which may have alpha."""
    return hashlib.sha256(f"{item_id}\n{uri}".encode()).hexdigest()[:24]


class Catalog:
    """Adds and removes items, and keeps the index in step with the store."""

    def __init__(self, store: CatalogStore, blobs: Blobs, generator: Generator, index: CoverIndex) -> None:
        self.store, self._blobs, self._generator, self._index = store, blobs, generator, index

    async def upsert(self, incoming: Sequence[IncomingItem]) -> list[Item]:
        """Store all items or none. Each picture becomes a reference and a catalogue cover. Raises Unavailable, StoreFull."""
        now = time.time()
        new = [IncomingCover("", i.item, p) for i in incoming for p in i.pictures if p.data]
        stored = await self._stored(new, now)
        covers = [cover for cover, _ in stored]
        uris = {id(n.picture): uri for n, (_, uri) in zip(new, stored, strict=True)}
        items, stale = [], []
        for i in incoming:
            references = tuple(uris.get(id(p), p.uri) for p in i.pictures)
            old = await self.store.item(i.item.id)
            if not references and old:
                references = old.references
            elif old:
                pool = (await self.store.pools([i.item.id])).get(i.item.id, ())
                gone = {catalog_cover_id(i.item.id, uri) for uri in set(old.references) - set(references)}
                stale += [c.id for c in pool if c.id in gone]
            items.append(replace(i.item, references=references, updated_at=now))
        unused = await self.store.upsert_items(items, covers)
        self._add_to_index(covers)
        await self._remove(stale)
        for uri in unused:
            await self._blobs.delete(uri)
        return items

    async def add_covers(self, incoming: Sequence[IncomingCover]) -> list[Cover]:
        """Add catalogue covers of items that exist, or replace them by id."""
        covers = [cover for cover, _ in await self._stored(incoming, time.time())]
        await self.store.add_covers(covers)
        self._add_to_index(covers)
        return covers

    def _add_to_index(self, covers: Sequence[Cover]) -> None:
        if covers:
            self._index.add([c.id for c in covers], np.stack([c.embedding for c in covers]))

    async def _stored(self, incoming: Sequence[IncomingCover], now: float) -> list[tuple[Cover, str]]:
        """Covers whose pictures are stored, and the URIs of these pictures as references: with their alpha."""
        if not incoming:
            return []
        scored = await self._generator.score([i.picture.cover for i in incoming], [i.item.title for i in incoming])
        # All at once: syncing many files takes a disk as long as syncing one.
        files = dict.fromkeys(data for i in incoming for data in (i.picture.cover, i.picture.data))
        uris = dict(zip(files, await asyncio.gather(*(self._blobs.put(data, "webp") for data in files)), strict=True))
        return [
            (
                Cover(
                    id=i.id or catalog_cover_id(i.item.id, uris[i.picture.data]),
                    item_id=i.item.id,
                    uri=uris[i.picture.cover],
                    embedding=s.embedding,
                    rewards=s.rewards,
                    provenance=Provenance(Origin.CATALOGUE),
                    width=i.picture.width,
                    height=i.picture.height,
                    created_at=now,
                ),
                uris[i.picture.data],
            )
            for i, s in zip(incoming, scored, strict=True)
        ]

    async def delete(self, item_id: str) -> int | None:
        """Remove the item, its covers and their images; returns the number of covers, or None if there is no such item."""
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
