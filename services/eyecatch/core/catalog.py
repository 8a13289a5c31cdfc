"""Storing items, for the API and for imports: pictures -> blobs and catalogue covers with embedding and rewards, in one transaction."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eyecatch.core.generator import Generator
from eyecatch.core.ports import Blobs, CatalogStore, CoverIndex
from eyecatch.core.types import Cover, Item, Origin, Provenance


@dataclass(frozen=True, eq=False)
class Picture:
    """A normalised picture: encoded bytes and their size in pixels, or the URI of a stored blob.

    opaque: the picture over white if `data` has alpha, else empty. names: of the blobs of `data` and of `cover`; they come from the
    file that was decoded, so that an item's covers keep their ids when an encoder changes. "" for the digests of the bytes. earlier:
    these digests as stores have them that were written before names came from files; it takes an encoding.
    """

    data: bytes = b""
    width: int = 0
    height: int = 0
    uri: str = ""
    opaque: bytes = b""
    names: tuple[str, str] = ("", "")
    earlier: Callable[[], tuple[str, str]] | None = None

    @property
    def cover(self) -> bytes:
        """What a catalogue cover shows."""
        return self.opaque or self.data

    def files(self) -> tuple[tuple[bytes, str], tuple[bytes, str]]:
        """Bytes and name of both blobs, which are one for a picture without alpha."""
        return (self.data, self.names[0]), (self.cover, self.names[1])


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


async def with_known_names(picture: Picture, uris: Sequence[str]) -> Picture:
    """The picture under its `earlier` names if one of `uris`, which are stored, has them."""
    if not uris or picture.earlier is None or any(picture.names[0] in uri for uri in uris):
        return picture
    names = await asyncio.to_thread(picture.earlier)
    known = any(name in uri for name in names for uri in uris)
    return replace(picture, names=names, earlier=None) if known else picture


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
        incoming = [await self.known(i) for i in incoming]
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

    async def known(self, incoming: IncomingItem) -> IncomingItem:
        """The item with its pictures under the names by which the catalogue has them."""
        if not any(picture.earlier for picture in incoming.pictures):
            return incoming
        old = await self.store.item(incoming.item.id)
        references = old.references if old else ()
        return replace(incoming, pictures=tuple([await with_known_names(p, references) for p in incoming.pictures]))

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
        files = dict.fromkeys(file for i in incoming for file in i.picture.files())
        puts = (self._blobs.put(data, "webp", name) for data, name in files)
        uris = dict(zip(files, await asyncio.gather(*puts), strict=True))
        both = [tuple(uris[file] for file in i.picture.files()) for i in incoming]
        return [
            (
                Cover(
                    id=i.id or catalog_cover_id(i.item.id, reference),
                    item_id=i.item.id,
                    uri=shown,
                    embedding=s.embedding,
                    rewards=s.rewards,
                    provenance=Provenance(Origin.CATALOGUE),
                    width=i.picture.width,
                    height=i.picture.height,
                    created_at=now,
                ),
                reference,
            )
            for i, s, (reference, shown) in zip(incoming, scored, both, strict=True)
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
