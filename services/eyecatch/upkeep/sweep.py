"""Encoder upgrades: a sweep encodes every user again whose embedding has another version than the last announced encoder.

Profiles have the version of their embedding, so an interrupted sweep can be repeated. Knows no store and no schedule.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import structlog

from eyecatch.core.errors import EyecatchError
from eyecatch.core.ports import Encoder, Notes, ProfileStore

log = structlog.get_logger(__name__)

NOTE = "encoder"
BATCH = 256
# Part of the time that a sweep works; the rest is for answers.
SHARE = 0.5


@dataclass(frozen=True)
class SweepProgress:
    """The numbers of profiles that were checked, and of those that were encoded again."""

    checked: int = 0
    rewritten: int = 0


async def announce(notes: Notes, encoder: Encoder) -> None:
    """Announce that this encoder is rolled out. Sweeps of other versions end, so that two versions never overwrite each other."""
    while True:
        before = await notes.read(NOTE)
        if before == _mark(encoder) or await notes.replace(NOTE, before, _mark(encoder)):
            return


async def is_announced(notes: Notes, encoder: Encoder) -> bool:
    """Whether this encoder was announced last."""
    return await notes.read(NOTE) == _mark(encoder)


async def sweep(
    profiles: ProfileStore,
    notes: Notes,
    encoder: Encoder,
    on_progress: Callable[[SweepProgress], None] = lambda progress: None,
    share: float = SHARE,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> SweepProgress:
    """Encode users of other encoder versions again, working for `share` of the time. Ends early if another encoder is announced.

    Raises Unavailable and StoreFull; the next sweep does the rest, and the users that older processes write meanwhile.
    """
    progress = SweepProgress()
    async for heads in profiles.scan():
        stale = [heads.keys[n] for n in np.flatnonzero(heads.encoders != encoder.version).tolist()]
        for first in range(0, len(stale), BATCH):
            if not await is_announced(notes, encoder):
                return progress
            started = time.perf_counter()
            done = await profiles.reencode(stale[first : first + BATCH], encoder)
            progress = SweepProgress(progress.checked, progress.rewritten + done)
            on_progress(progress)
            await sleep((time.perf_counter() - started) * (1 / share - 1))
        progress = SweepProgress(progress.checked + len(heads.keys), progress.rewritten)
        on_progress(progress)
    return progress


async def keep_current(profiles: ProfileStore, notes: Notes, encoder: Encoder, every_s: float) -> None:
    """Announce the encoder, then sweep every `every_s` seconds while no other one is announced. Runs until cancelled."""
    to_announce = True
    while True:
        try:
            if to_announce:
                await announce(notes, encoder)
                to_announce = False
            if await is_announced(notes, encoder):
                progress = await sweep(profiles, notes, encoder)
                if progress.rewritten:
                    log.info(
                        "users_reencoded", encoder=encoder.version, users=progress.rewritten, seen=progress.checked
                    )
        except EyecatchError as error:
            log.warning("sweep_failed", error=str(error), again_in_s=every_s)
        await asyncio.sleep(every_s)


def _mark(encoder: Encoder) -> bytes:
    return str(encoder.version).encode()
