"""The health of a process and its problems: logged once for each change, and served over HTTP by observe/page.py."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Health:
    """The parts with a problem, each with its reason and start. Safe on any thread. `clock`: monotonic seconds."""

    def __init__(self, *starting: str, clock: Callable[[], float] = time.monotonic) -> None:
        """The parts `starting` have the problem "starting" until `well` is called for them."""
        self._clock = clock
        self._problems = {part: ("starting", clock()) for part in starting}

    def trouble(self, part: str, why: str) -> float:
        """Report a problem of a part; returns for how many seconds the part has had problems."""
        before = self._problems.get(part)
        since = before[1] if before else self._clock()
        self._problems[part] = (why, since)
        if before is None or before[0] != why:
            log.warning("trouble", part=part, why=why)
        return self._clock() - since

    def well(self, part: str) -> None:
        """Report that a part works."""
        before = self._problems.pop(part, None)
        if before is not None:
            log.info("well", part=part, after_s=round(self._clock() - before[1], 3))

    def works(self, part: str) -> bool:
        return part not in self._problems

    @property
    def serving(self) -> bool:
        return not self._problems

    def text(self) -> str:
        """SERVING, or NOT_SERVING and a line for each problem."""
        problems = [f"{part}: {why}" for part, (why, _) in sorted(self._problems.items())]
        return "\n".join(["NOT_SERVING", *problems] if problems else ["SERVING"])
