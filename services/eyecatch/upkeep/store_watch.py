"""Watches a shared store: whether it answers, whether it lost writes, and whether its settings would delete some. Knows no Redis."""

import asyncio
from typing import Protocol

import structlog

from eyecatch.core.errors import EyecatchError, StoreLost
from eyecatch.core.ports import StoreLife

log = structlog.get_logger(__name__)

EVERY_S = 5.0
STORE, SETTINGS, DATA = "store", "store settings", "store data"
"""Names of parts for /health."""


class Report(Protocol):
    """Takes news of the parts, as observe.health.Health does."""

    def trouble(self, part: str, why: str) -> float:
        """Report a problem of a part."""

    def well(self, part: str) -> None:
        """Report that a part works."""


async def watch_store(life: StoreLife, report: Report) -> None:
    """Look every EVERY_S until cancelled. Lost writes are reported until the process ends: only a restored store makes good for them."""
    if not await _durable(life):
        log.warning("store_not_durable", why="Redis has no AOF: what it acknowledges is gone when it restarts")
    while True:
        try:
            await life.beat()
            report.well(STORE)
            problems = await life.problems()
            if problems:
                report.trouble(SETTINGS, "; ".join(problems))
            else:
                report.well(SETTINGS)
        except StoreLost as error:
            log.error("store_lost", error=str(error))
            report.trouble(DATA, str(error))
        except EyecatchError as error:
            report.trouble(STORE, str(error))
        await asyncio.sleep(EVERY_S)


async def _durable(life: StoreLife) -> bool:
    try:
        return await life.durable()
    except EyecatchError:
        return True  # nobody knows; the watch reports that the store does not answer
