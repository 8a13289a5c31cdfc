"""The model that embedded the covers of a state: noted at the first use, checked later, changed by embedding all covers again."""

from collections.abc import Callable
from dataclasses import replace

from eyecatch.core.errors import StoreError
from eyecatch.core.ports import Blobs, CatalogStore, Generator, Notes
from eyecatch.core.types import Cover

NOTE = "cover-space"
BATCH = 64
_INTERRUPTED = b"between two"
_HINT = "`eyecatch items reembed` embeds all covers with the current one"


async def claim(catalog: CatalogStore, notes: Notes, space: int, read_only: bool = False) -> None:
    """Note the model, or with `read_only` only check it.

    Raises StoreError if another model embedded the covers: embeddings of two models must never be compared.
    """
    mark = _mark(space)
    while True:
        note = await notes.read(NOTE)
        if note == mark:
            return
        if note == _INTERRUPTED:
            raise StoreError(f"embedding the covers with another model was interrupted; {_HINT}")
        if note is not None and (await catalog.counts())[1]:
            raise StoreError(
                f"the covers were embedded by another model ({note.decode()}, the checkpoint's is {mark.decode()}): "
                f"use the checkpoint of the covers; or {_HINT}"
            )
        if read_only or await notes.replace(NOTE, note, mark):
            return


async def reembed(
    catalog: CatalogStore,
    notes: Notes,
    blobs: Blobs,
    generator: Generator,
    space: int,
    on_progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Embed and rate all covers with the generator's model; returns how many. No server may use the state meanwhile.

    If it is interrupted, no server opens the state until it is run again. User embeddings need no step of their own, as the version of
    their encoder depends on the model of the covers. Raises NotFound for a cover whose image does not exist.
    """
    note = await notes.read(NOTE)
    while not await notes.replace(NOTE, note, _INTERRUPTED):
        note = await notes.read(NOTE)
    done, batch = 0, list[Cover]()
    async for cover in catalog.all_covers():
        batch.append(cover)
        if len(batch) == BATCH:
            done += await _embed(batch, catalog, blobs, generator)
            on_progress(done)
            batch = []
    done += await _embed(batch, catalog, blobs, generator)
    await notes.replace(NOTE, _INTERRUPTED, _mark(space))
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
