"""Trials: puts made covers that passed all gates on trial, counts what users do with them, and trusts or retires them by evidence.

The counts are a note that any process may continue: it reads the log of events from where the note ends, so that each event counts
once. A user counts once for each cover in one round, so that a single one cannot decide a trial.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from eyecatch.core.errors import EyecatchError
from eyecatch.core.ports import CatalogStore, Stores
from eyecatch.core.trust.evidence import Counts, overall_rate, verdict
from eyecatch.core.trust.standing import TRIAL, advanced, is_shown
from eyecatch.core.types import Action, AuditEntry, Cover, Event, Standing, StandingChange, Trust

log = structlog.get_logger(__name__)

NOTE = "trials"
BY = "trial"
PAGE = 5000
CLICKS = frozenset({Action.CLICK, Action.LIKE, Action.PURCHASE})


@dataclass
class Evidence:
    """Counts of the covers in `counts`, or with `every` of all, from the events up to sequence number `after`."""

    after: int = 0
    counts: dict[str, Counts] = field(default_factory=dict)
    every: bool = False

    def to_bytes(self) -> bytes:
        return json.dumps({"after": self.after, "counts": self.counts}, separators=(",", ":")).encode()

    @classmethod
    def of(cls, note: bytes | None) -> "Evidence":
        if not note:
            return cls()
        values = json.loads(note)
        return cls(values["after"], {id: Counts(*numbers) for id, numbers in values["counts"].items()})

    def add(self, events: Sequence[tuple[int, Event]], counted: set[tuple[str, str, bool]]) -> None:
        """Add a page of the log. `counted`: (user, cover, whether a click) of this round."""
        for number, event in events:
            self.after = number
            click = event.action in CLICKS
            key = event.user_id, event.cover_id, click
            counts = self.counts.get(event.cover_id, Counts() if self.every and event.cover_id else None)
            if (click or event.action is Action.IMPRESSION) and counts is not None and key not in counted:
                counted.add(key)
                self.counts[event.cover_id] = Counts(counts.impressions + (not click), counts.clicks + click)


async def advance(catalog: CatalogStore, mode: str) -> set[str]:
    """Give covers that passed all gates the standing of this mode; returns their items."""
    changes = []
    for trust in (Trust.CANDIDATE, Trust.ON_TRIAL):
        async for cover in _waiting(catalog, trust):
            after = advanced(cover.standing, mode)
            if after is not None:
                changes.append(_change(cover, after, f"the server runs with made_covers {mode}"))
    return await _apply(catalog, changes)


async def judge(stores: Stores) -> set[str]:
    """Read new events, and end the trials that they decide; returns the items whose covers changed."""
    trials = [cover async for cover in _waiting(stores.catalog, Trust.ON_TRIAL)]
    pools = await stores.catalog.pools(sorted({cover.item_id for cover in trials}))
    before = await stores.notes.read(NOTE)
    evidence = Evidence.of(before)
    ids = [cover.id for pool in pools.values() for cover in pool]
    evidence.counts = {id: evidence.counts.get(id, Counts()) for id in ids}
    counted: set[tuple[str, str, bool]] = set()
    while page := await stores.profiles.events(evidence.after, PAGE):
        evidence.add(page, counted)
        await asyncio.sleep(0)  # the fast path answers between two pages
    if not await stores.notes.replace(NOTE, before, evidence.to_bytes()):
        return set()  # another process counts
    rate = overall_rate(evidence.counts.values())
    changes = []
    for cover in trials:
        rivals = [evidence.counts[c.id] for c in pools.get(cover.item_id, ()) if is_shown(c, TRIAL)]
        decision = verdict(evidence.counts.get(cover.id, Counts()), rivals, rate)
        if decision is not None:
            trust, words = decision
            reasons = (words,) if trust is Trust.RETIRED else ()
            changes.append(_change(cover, Standing(trust, reasons), words))
    return await _apply(stores.catalog, changes)


async def keep_trials(
    stores: Stores, mode: str, every_s: float, on_change: Callable[[Sequence[str]], Awaitable[None]]
) -> None:
    """Advance and judge every `every_s` seconds until cancelled."""
    while True:
        try:
            changed = await advance(stores.catalog, mode)
            if mode == TRIAL:
                changed |= await judge(stores)
            if changed:
                await on_change(sorted(changed))
        except EyecatchError as error:
            log.warning("trials_failed", error=str(error))
        await asyncio.sleep(every_s)


async def _waiting(catalog: CatalogStore, trust: Trust) -> AsyncIterator[Cover]:
    token, more = "", True
    while more:
        page = await catalog.waiting_covers(trust, 1000, token)
        for cover in page.rows:
            yield cover
        token, more = page.next_token, bool(page.next_token)


def _change(cover: Cover, after: Standing, note: str) -> StandingChange:
    entry = AuditEntry(time.time(), BY, after.trust.name.lower(), cover.item_id, cover.id, note)
    return StandingChange(cover.standing, after, entry)


async def _apply(catalog: CatalogStore, changes: Sequence[StandingChange]) -> set[str]:
    changed = set(await catalog.change_standings(changes)) if changes else set()
    for change in changes:
        if change.entry.cover_id in changed:
            log.info("cover_standing", cover=change.entry.cover_id, standing=change.entry.action, why=change.entry.note)
    return {change.entry.item_id for change in changes if change.entry.cover_id in changed}
