"""The model that embedded the covers of a state: noted at the first use, checked later, changed by embedding all covers again."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eyecatch.core.errors import StoreError
from eyecatch.core.generator import Generator
from eyecatch.core.ports import Blobs, CatalogStore, Notes
from eyecatch.core.types import Cover
from eyecatch.shards import Runner, Shard, ShardResults, here, key_of, opened, packed, run, unpacked, waited

NOTE = "cover-space"
BATCH, ROUND = 64, 256
"""Covers of a shard, and shards that are run before their covers are stored."""
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


@dataclass(frozen=True, eq=False)
class Embed:
    """(URI, title) of some covers -> their embeddings and rewards, as `packed`. A Work of eyecatch.shards.

    generator: opens the model, once in each process. model: names it and what else the rewards depend on.
    """

    blobs: Blobs
    generator: Callable[[], Generator]
    model: str

    def __call__(self, covers: Sequence[tuple[str, str]]) -> bytes:
        return waited(self._embed(covers))

    async def _embed(self, covers: Sequence[tuple[str, str]]) -> bytes:
        images = [await self.blobs.get(uri) for uri, _ in covers]
        scored = await opened(self.generator).score(images, [title for _, title in covers])
        rewards = json.dumps([dict(score.rewards) for score in scored]).encode()
        return packed(
            {"covers": np.stack([score.embedding for score in scored]), "rewards": np.frombuffer(rewards, np.uint8)}
        )

    def shard(self, covers: Sequence[tuple[str, str]]) -> Shard:
        return Shard(key_of(self.model, json.dumps(covers)), covers)


async def reembed(
    catalog: CatalogStore,
    notes: Notes,
    embed: Embed,
    space: int,
    results: ShardResults,
    runner: Runner = here,
    on_progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Embed and rate all covers with another model; returns how many. No server may use the state meanwhile.

    If it is interrupted, no server opens the state until it is run again, which embeds only what `results` does not have. User embeddings
    need no step of their own, as the version of their encoder depends on the model of the covers. Raises NotFound for a cover whose image
    does not exist.
    """
    note = await notes.read(NOTE)
    while not await notes.replace(NOTE, note, _INTERRUPTED):
        note = await notes.read(NOTE)
    done, waiting = 0, list[Cover]()
    async for cover in catalog.all_covers():
        waiting.append(cover)
        if len(waiting) == ROUND * BATCH:
            done += await _round(waiting, catalog, embed, results, runner)
            on_progress(done)
            waiting = []
    done += await _round(waiting, catalog, embed, results, runner)
    await notes.replace(NOTE, _INTERRUPTED, _mark(space))
    return done


async def _round(
    covers: list[Cover], catalog: CatalogStore, embed: Embed, results: ShardResults, runner: Runner
) -> int:
    items = {id: await catalog.item(id) for id in {cover.item_id for cover in covers}}
    titles = {id: item.title if item else "" for id, item in items.items()}
    batches = [covers[n : n + BATCH] for n in range(0, len(covers), BATCH)]
    shards = [embed.shard([(cover.uri, titles[cover.item_id]) for cover in batch]) for batch in batches]
    await asyncio.to_thread(run, embed, shards, results, runner)
    for shard, batch in zip(shards, batches, strict=True):
        result = unpacked(results.read(shard.key))
        rewards = json.loads(result["rewards"].tobytes())
        rows = zip(batch, result["covers"], rewards, strict=True)
        await catalog.add_covers([replace(c, embedding=row, rewards={**c.rewards, **more}) for c, row, more in rows])
    return len(covers)


def _mark(space: int) -> bytes:
    return f"{space:04x}".encode()
