"""Whether a process works, and why not: logged once when it changes, and answered over HTTP (observe/page.py) at any time."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Health:
    """Parts in trouble, each with its reason and since when. Safe on any thread; `clock` is monotonic, in seconds."""

    def __init__(self, *starting: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`starting` parts are in trouble until they are well for the first time."""
        self._clock = clock
        self._troubles = {part: ("starting", clock()) for part in starting}

    def trouble(self, part: str, why: str) -> float:
        """Note a trouble; returns for how many seconds this part has been in trouble."""
        before = self._troubles.get(part)
        since = before[1] if before else self._clock()
        self._troubles[part] = (why, since)
        if before is None or before[0] != why:
            log.warning("trouble", part=part, why=why)
        return self._clock() - since

    def well(self, part: str) -> None:
        before = self._troubles.pop(part, None)
        if before is not None:
            log.info("well", part=part, after_s=round(self._clock() - before[1], 3))

    @property
    def serving(self) -> bool:
        return not self._troubles

    def text(self) -> str:
        """SERVING, or NOT_SERVING and a line for each trouble."""
        troubles = [f"{part}: {why}" for part, (why, _) in sorted(self._troubles.items())]
        return "\n".join(["NOT_SERVING", *troubles] if troubles else ["SERVING"])
