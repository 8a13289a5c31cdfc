"""The cover index of a server: read from its last snapshot, brought in line with the store, and written when it was built anew.

The store is the truth. Each start reads all covers, as before there were snapshots: ids and embeddings that the snapshot has are not
indexed again, others are added, and ids that the store no longer shows are removed. So a snapshot may be old, and never shows.
"""

import asyncio
from pathlib import Path

import numpy as np
import structlog

from eyecatch.config import StateConfig
from eyecatch.core.errors import StoreError
from eyecatch.core.ports import CatalogStore
from eyecatch.core.trust.standing import is_shown
from eyecatch.encoders.learned import cover_space
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.index_kinds import Kind
from eyecatch.wiring.stores import checkpoint

log = structlog.get_logger(__name__)

FILE = "cover-index.safetensors"
EVERY_S = 60.0
BATCH = 4096


def snapshot(config: StateConfig) -> tuple[Path, str]:
    """The file of the snapshot, and the name of the cover space that it must have."""
    return config.folder / FILE, f"{cover_space(checkpoint(config), config.space_folder):04x}"


async def open_index(index: FaissIndex, catalog: CatalogStore, mode: str, file: Path, space: str) -> None:
    """Read the snapshot if there is one that fits, then bring the index in line with the store."""
    try:
        await asyncio.to_thread(index.load, file, space)
    except FileNotFoundError:
        pass
    except (StoreError, OSError) as error:
        log.warning("cover_index_snapshot_refused", error=str(error), instead="the index is built from the store")
    read = len(index)
    await fill_index(index, catalog, mode)
    if read:
        log.info("cover_index_read", rows=read, covers=len(index), kind=str(index.plan.kind))


async def fill_index(index: FaissIndex, catalog: CatalogStore, mode: str) -> None:
    """Make the index hold the covers that every user may see, in chunks to bound memory. `mode`: one of core/trust/standing.py's MODES."""
    before = index.ids()
    ids: list[str] = []
    rows = []
    with index.filling():
        async for cover in catalog.all_covers():
            if not is_shown(cover, mode):
                continue
            ids.append(cover.id)
            rows.append(cover.embedding)
            if len(ids) == BATCH:
                index.add(ids, np.stack(rows))
                before.difference_update(ids)
                ids, rows = [], []
        if ids:
            index.add(ids, np.stack(rows))
            before.difference_update(ids)
        # Of those that were there at the begin: what was added meanwhile may come too early for the scan.
        index.remove(list(before))


async def keep_snapshots(index: FaissIndex, file: Path, space: str, every_s: float = EVERY_S) -> None:
    """Write a snapshot whenever a graph or lists were built since the last one, until cancelled. Flat costs nothing to build."""
    written = index.builds
    while True:
        await asyncio.sleep(every_s)
        builds = index.builds
        if builds == written or index.plan.kind is Kind.FLAT:
            continue
        try:
            await asyncio.to_thread(index.save, file, space)
            written = builds
        except OSError as error:
            log.warning("cover_index_snapshot_failed", error=str(error), again_in_s=every_s)
