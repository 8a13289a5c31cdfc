"""Encoder upgrades: every stored user embedding becomes one of the encoder that was rolled out last.

Profiles say what made them, so a sweep cut short just goes over them again. Knows no store and no schedule.
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
# Of the time; the rest belongs to whoever needs the store and the cores for an answer.
SHARE = 0.5


@dataclass(frozen=True)
class Swept:
    """How far a sweep came: profiles looked at, and those among them encoded anew."""

    seen: int = 0
    rewritten: int = 0


async def announce(notes: Notes, encoder: Encoder) -> None:
    """Say that this encoder is being rolled out. Sweeps of every other version end, so two versions never take turns."""
    while True:
        before = await notes.read(NOTE)
        if before == _mark(encoder) or await notes.replace(NOTE, before, _mark(encoder)):
            return


async def announced(notes: Notes, encoder: Encoder) -> bool:
    """Whether this is the encoder that was announced last."""
    return await notes.read(NOTE) == _mark(encoder)


async def sweep(
    profiles: ProfileStore,
    notes: Notes,
    encoder: Encoder,
    on_progress: Callable[[Swept], None] = lambda swept: None,
    share: float = SHARE,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Swept:
    """Encode anew whatever other encoders made, busy for `share` of the time; ends early once another encoder is announced.

    Raises Unavailable and StoreFull; starting again does the rest. What is absorbed meanwhile by processes with an older
    encoder is left to the next sweep.
    """
    swept = Swept()
    async for heads in profiles.scan():
        stale = [heads.keys[n] for n in np.flatnonzero(heads.encoders != encoder.version).tolist()]
        for first in range(0, len(stale), BATCH):
            if not await announced(notes, encoder):
                return swept
            started = time.perf_counter()
            done = await profiles.reencode(stale[first : first + BATCH], encoder)
            swept = Swept(swept.seen, swept.rewritten + done)
            on_progress(swept)
            await sleep((time.perf_counter() - started) * (1 / share - 1))
        swept = Swept(swept.seen + len(heads.keys), swept.rewritten)
        on_progress(swept)
    return swept


async def keep_current(profiles: ProfileStore, notes: Notes, encoder: Encoder, every_s: float) -> None:
    """Announce the encoder, then sweep every `every_s` seconds for as long as no other one is announced. Runs until cancelled."""
    announcing = True
    while True:
        try:
            if announcing:
                await announce(notes, encoder)
                announcing = False
            if await announced(notes, encoder):
                swept = await sweep(profiles, notes, encoder)
                if swept.rewritten:
                    log.info("users_encoded_anew", encoder=encoder.version, users=swept.rewritten, seen=swept.seen)
        except EyecatchError as error:
            log.warning("sweep_failed", error=str(error), again_in_s=every_s)
        await asyncio.sleep(every_s)


def _mark(encoder: Encoder) -> bytes:
    return str(encoder.version).encode()
