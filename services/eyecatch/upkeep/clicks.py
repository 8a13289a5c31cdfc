"""The stored reward `clicks`: what users' clicks say of a cover, and for new covers what they say of the nearest ones.

Computed in the background from the log of events and kept in memory: a request adds one number that is there already. No cover of
another item is ever shown; what is borrowed is evidence. Off unless the reward has a weight. See docs/trust.md.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import faiss
import numpy as np
import structlog

from eyecatch.core.errors import EyecatchError
from eyecatch.core.ports import Stores
from eyecatch.core.trust.evidence import Counts
from eyecatch.core.trust.lift import KNOWN, NEAR, borrowed, expected, log_lift
from eyecatch.core.types import Vector
from eyecatch.upkeep.trials import PAGE, Evidence

log = structlog.get_logger(__name__)

NOTE = "clicks"
MOST = 20_000
"""Covers with evidence that others may borrow from, those with the most clicks expected. The work grows with it."""
LEAST_CHANGE = 0.02
"""Of the logarithm of a lift; a smaller one does not reach the ranking before a larger one comes."""
BATCH = 1024


async def count(stores: Stores) -> dict[str, Counts]:
    """Read new events into the note, which any process may continue, and return impressions and clicks of all covers by id."""
    before = await stores.notes.read(NOTE)
    evidence = Evidence.of(before)
    evidence.every = True
    counted: set[tuple[str, str, bool]] = set()
    while page := await stores.profiles.events(evidence.after, PAGE):
        evidence.add(page, counted)
        await asyncio.sleep(0)  # the fast path answers between two pages
    if not await stores.notes.replace(NOTE, before, evidence.to_bytes()):
        evidence = Evidence.of(await stores.notes.read(NOTE))  # another process counted meanwhile
    return evidence.counts


def values(
    ids: Sequence[str], items: Sequence[str], embeddings: Vector, counts: Mapping[str, Counts]
) -> dict[str, float]:
    """The reward of N covers with these items and embeddings (N, D), by id."""
    if not ids:
        return {}
    clicks, hoped = expected(items, [counts.get(id, Counts()) for id in ids])
    prior = np.ones(len(ids))
    lenders = np.argsort(-hoped, kind="stable")[:MOST]
    lenders = lenders[hoped[lenders] > 0]
    cold = np.flatnonzero(hoped < KNOWN)
    number = {item: n for n, item in enumerate(dict.fromkeys(items))}
    item = np.array([number[each] for each in items])
    for first in range(0, len(cold) if len(lenders) else 0, BATCH):
        part = cold[first : first + BATCH]
        # Twice as many as are needed, since covers of the same item do not lend.
        dots, near = faiss.knn(
            embeddings[part], embeddings[lenders], min(2 * NEAR, len(lenders)), faiss.METRIC_INNER_PRODUCT
        )
        others = lenders[near]
        dots[item[others] == item[part][:, None]] = -np.inf
        order = np.argsort(-dots, axis=1, kind="stable")[:, :NEAR]
        dots, others = np.take_along_axis(dots, order, 1), np.take_along_axis(others, order, 1)
        prior[part] = borrowed(dots, clicks[others], hoped[others])
    return dict(zip(ids, log_lift(clicks, hoped, prior).tolist(), strict=True))


async def learn(stores: Stores) -> tuple[dict[str, float], dict[str, str]]:
    """(the reward of each cover, its item), both by cover id."""
    counts = await count(stores)
    ids, items, rows = [], [], []
    async for cover in stores.catalog.all_covers():
        ids.append(cover.id)
        items.append(cover.item_id)
        rows.append(cover.embedding)
    embeddings = np.stack(rows) if rows else np.zeros((0, 1), np.float32)
    return await asyncio.to_thread(_quietly, ids, items, embeddings, counts), dict(zip(ids, items, strict=True))


async def keep_learning(
    stores: Stores, every_s: float, use: Callable[[Mapping[str, float], Sequence[str]], None]
) -> None:
    """Every `every_s` seconds until cancelled: `use(rewards by cover, items with one that changed)`."""
    last: dict[str, float] = {}
    while True:
        try:
            new, items = await learn(stores)
            changed = {items[id] for id, value in new.items() if abs(value - last.get(id, 0.0)) > LEAST_CHANGE}
            last = {id: value if items[id] in changed else last.get(id, 0.0) for id, value in new.items()}
            use(last, sorted(changed))
            log.info("clicks_learned", covers=len(last), items_changed=len(changed))
        except EyecatchError as error:
            log.warning("clicks_not_learned", error=str(error), again_in_s=every_s)
        await asyncio.sleep(every_s)


def _quietly(
    ids: Sequence[str], items: Sequence[str], embeddings: Vector, counts: Mapping[str, Counts]
) -> dict[str, float]:
    """`values` on one core, so that answers keep the others. The number of threads is a setting of this thread alone."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        return values(ids, items, embeddings, counts)
    finally:
        faiss.omp_set_num_threads(before)
