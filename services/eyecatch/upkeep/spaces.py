"""Which model embedded the covers of a state: noted at first use, compared ever after, changed by embedding all of them anew."""

from collections.abc import Callable
from dataclasses import replace

from eyecatch.core.errors import StoreError
from eyecatch.core.ports import Blobs, CatalogStore, Generator, Notes
from eyecatch.core.types import Cover

NOTE = "cover-space"
BATCH = 64
_HALFWAY = b"between two"
_ANEW = "`eyecatch items reembed` embeds all covers with the current one"


async def claim(catalog: CatalogStore, notes: Notes, space: int) -> None:
    """Raises StoreError when the covers were embedded by another model: their embeddings and ours must never meet."""
    mark = _mark(space)
    while True:
        found = await notes.read(NOTE)
        if found == mark:
            return
        if found == _HALFWAY:
            raise StoreError(f"embedding the covers with another model was cut short; {_ANEW}")
        if found is not None and (await catalog.counts())[1]:
            raise StoreError(
                f"the covers were embedded by another model ({found.decode()}, the checkpoint's is {mark.decode()}): "
                f"use the checkpoint they were made with; or {_ANEW}"
            )
        if await notes.replace(NOTE, found, mark):
            return


async def reembed(
    catalog: CatalogStore,
    notes: Notes,
    blobs: Blobs,
    generator: Generator,
    space: int,
    on_progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Embed and rate all covers by the generator's model; returns how many. No server may use the state meanwhile.

    Cut short it leaves a state that no server opens; doing it again completes it. User embeddings follow by themselves, as their
    encoder's version depends on the covers' model. Raises NotFound for a cover whose image is gone.
    """
    found = await notes.read(NOTE)
    while not await notes.replace(NOTE, found, _HALFWAY):
        found = await notes.read(NOTE)
    done, some = 0, list[Cover]()
    async for cover in catalog.all_covers():
        some.append(cover)
        if len(some) == BATCH:
            done += await _embed(some, catalog, blobs, generator)
            on_progress(done)
            some = []
    done += await _embed(some, catalog, blobs, generator)
    await notes.replace(NOTE, _HALFWAY, _mark(space))
    return done


async def _embed(covers: list[Cover], catalog: CatalogStore, blobs: Blobs, generator: Generator) -> int:
    if covers:
        items = {id: await catalog.item(id) for id in {cover.item_id for cover in covers}}
        titles = [item.title if (item := items[cover.item_id]) else "" for cover in covers]
        scored = await generator.score([await blobs.get(cover.uri) for cover in covers], titles)
        await catalog.add_covers(
            [
                replace(c, embedding=s.embedding, rewards={**c.rewards, **s.rewards})
                for c, s in zip(covers, scored, strict=True)
            ]
        )
    return len(covers)


def _mark(space: int) -> bytes:
    return f"{space:04x}".encode()
