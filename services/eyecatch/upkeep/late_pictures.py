"""Items that got their first pictures after users engaged with them: these users are encoded again, in the background. Knows no store."""

import asyncio
import time
from collections.abc import Iterable

import structlog

from eyecatch.core.errors import EyecatchError
from eyecatch.core.ports import Encoder, ProfileStore

log = structlog.get_logger(__name__)

BATCH = 256
SHARE = 0.25
"""The part of the time that it works: an item of many users must not slow down answers."""
DELAY_S = 0.2
AGAIN_S = 10.0


class LatePictures:
    """`add` items, and `run` until cancelled. Items that arrive together are handled together, each user once."""

    def __init__(
        self, profiles: ProfileStore, encoder: Encoder, delay_s: float = DELAY_S, share: float = SHARE
    ) -> None:
        self._profiles, self._encoder, self._delay_s, self._share = profiles, encoder, delay_s, share
        self._items: set[str] = set()
        self._some = asyncio.Event()

    def add(self, item_ids: Iterable[str]) -> None:
        self._items.update(item_ids)
        if self._items:
            self._some.set()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(self._delay_s)
            items, self._items = self._items, set()
            self._some.clear()
            try:
                users = await self._encode(items)
                if users:
                    log.info("users_of_late_pictures", items=len(items), users=users)
            except EyecatchError as error:
                log.warning("late_pictures_failed", error=str(error), again_in_s=AGAIN_S)
                await asyncio.sleep(AGAIN_S)
                self.add(items)

    async def _encode(self, items: set[str]) -> int:
        users = 0
        async for keys in self._profiles.engaged(sorted(items), BATCH):
            started = time.perf_counter()
            users += await self._profiles.reencode(keys, self._encoder, always=True)
            await asyncio.sleep((time.perf_counter() - started) * (1 / self._share - 1))
        return users
