"""Fitting taste clusters: spherical mini-batch k-means over user embeddings, warm-started, so that ids stay. Knows no store.

A centroid is the direction of the sum of at least `least` users, so it is nobody's trace: one user is at most 1 / least of it. The
next fit knows nothing of a user forgotten before it, as only assignments, not positions, are carried over.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
import structlog
from numpy.typing import NDArray

from eyecatch.core.errors import EyecatchError, StoreDamaged
from eyecatch.core.ports import Encoder, Notes, ProfileStore
from eyecatch.core.tastes.clusters import TasteClusters, directions
from eyecatch.core.types import EMBEDDING_DIM, Vector

log = structlog.get_logger(__name__)

SAMPLE = 100_000
BATCH = 4096
EPOCHS = 5
# A shorter embedding is mostly the mixture of clusters that stands in for a taste not known yet: fitting to it would feed
# clusters with themselves.
KNOWN = 0.8
# How soon a server takes over what another process fitted.
LOOK_S = 60.0


@dataclass(frozen=True)
class ClusterOptions:
    """At most `count` clusters of at least `least` users each."""

    count: int = 64
    least: int = 20


async def sample(profiles: ProfileStore, encoder: int, seed: int, size: int = SAMPLE) -> Vector:
    """(N, D) unit embeddings of at most `size` users, each equally likely; only those of this encoder whose taste is known."""
    rng = np.random.default_rng(seed)
    rows, order = np.zeros((0, EMBEDDING_DIM), np.float32), np.zeros(0)
    async for heads in profiles.scan():
        length = np.linalg.norm(heads.embeddings, axis=1)
        good = (heads.encoders == encoder) & (length >= KNOWN)
        rows = np.concatenate([rows, heads.embeddings[good] / length[good, None]])
        order = np.concatenate([order, rng.random(int(good.sum()))])
        if len(rows) > 2 * size:
            rows, order = _first(rows, order, size)
    return _first(rows, order, size)[0]


def _first(rows: Vector, order: NDArray[np.float64], size: int) -> tuple[Vector, NDArray[np.float64]]:
    kept = np.argsort(order)[:size]
    return rows[kept], order[kept]


def fit(
    users: Vector, before: TasteClusters | None, encoder: int, options: ClusterOptions, seed: int = 0, now: float = 0.0
) -> TasteClusters | None:
    """Clusters of users (N, D), unit. `before` are the clusters of the generation before, of the same encoder, or None.

    None when there are too few users for two clusters. A cluster that too few users have gives half of the largest one a home.
    """
    if len(users) < 4 * options.least:
        return None
    # So many that the mean cluster is twice as large as it must be.
    wanted = min(options.count, len(users) // (2 * options.least))
    count = max(wanted, len(before.shares)) if before is not None else wanted
    rng = np.random.default_rng(seed)
    centroids = np.zeros((count, EMBEDDING_DIM), np.float32)
    if before is not None:
        centroids[: len(before.shares)] = before.centroids
    for _ in range(EPOCHS):
        _settle(users, centroids, wanted, options.least, rng)
        weight = np.zeros(count)
        shuffled = users[rng.permutation(len(users))]
        for first in range(0, len(users), BATCH):
            _step(shuffled[first : first + BATCH], centroids, weight)
    # The last step is a whole one: a centroid depends on its users of today and on nothing before them.
    nearest = _nearest(users, centroids)
    size = np.bincount(nearest, minlength=count)
    sums = _sums(users, nearest, count)
    sums[size < options.least] = 0
    centroids = _unit(sums)
    alive = centroids.any(1)
    shares = np.bincount(_nearest(users, centroids), minlength=count) / len(users) * alive
    # No living cluster may look dead because all its users went to a neighbour in the last step.
    shares = np.where(alive, np.maximum(shares, 1 / len(users)), 0).astype(np.float32)
    after = TasteClusters(
        centroids, shares / shares.sum(), before.generation + 1 if before else 1, encoder, len(users), now
    )
    return _compared(after, before, users)


def _compared(after: TasteClusters, before: TasteClusters | None, users: Vector) -> TasteClusters:
    drift, moved = np.where(after.shares > 0, 1, 0).astype(np.float32), 1.0
    if before is not None:
        old = np.zeros_like(after.centroids)
        old[: len(before.shares)] = before.centroids
        drift = np.where(old.any(1) | after.centroids.any(1), 1 - (old * after.centroids).sum(1), 0).astype(np.float32)
        moved = float((before.nearest(users) != after.nearest(users)).mean())
    return TasteClusters(
        after.centroids, after.shares, after.generation, after.encoder, after.users, after.fitted_at, drift, moved
    )


def _settle(users: Vector, centroids: Vector, wanted: int, least: int, rng: np.random.Generator) -> None:
    """Come as near to `wanted` clusters of `least` users as can be, in place: of too many the smallest end, of too few the widest
    give a half to those that have none."""
    if not centroids.any():
        centroids[0] = _unit(users.sum(0, keepdims=True))[0]
    size = np.bincount(_nearest(users, centroids), minlength=len(centroids))
    centroids[np.argsort(-size, kind="stable")[wanted:]] = 0
    nearest = _nearest(users, centroids)
    size = np.bincount(nearest, minlength=len(centroids))
    for empty in np.flatnonzero(size < least).tolist()[: wanted - int((size >= least).sum())]:
        away = 1 - np.einsum("nd,nd->n", users, centroids[nearest])
        width = np.bincount(nearest, away, minlength=len(centroids)) * (size >= 2 * least)
        widest = int(width.argmax())
        if not width[widest] > 0:
            return
        mine = np.flatnonzero(nearest == widest)
        means = faiss.Kmeans(
            EMBEDDING_DIM,
            2,
            niter=10,
            nredo=3,
            spherical=True,
            seed=int(rng.integers(1 << 30)),
            min_points_per_centroid=1,
        )
        means.train(users[mine])
        halves: Vector = np.array(means.centroids, np.float32)
        theirs = mine[_nearest(users[mine], halves) == 1]
        centroids[widest], centroids[empty] = halves[0], halves[1]
        nearest[theirs] = empty
        size[widest], size[empty] = len(mine) - len(theirs), len(theirs)


def _step(batch: Vector, centroids: Vector, weight: NDArray[np.float64]) -> None:
    """Move centroids towards their users of the batch, the less the more users they saw before (arXiv:1002.4658), in place."""
    nearest = _nearest(batch, centroids)
    size = np.bincount(nearest, minlength=len(centroids))
    sums = _sums(batch, nearest, len(centroids))
    some = size > 0
    weight += size
    rate = np.asarray(size[some] / weight[some], np.float32)[:, None]
    means = sums[some] / np.asarray(size[some], np.float32)[:, None]
    centroids[some] += rate * (means - centroids[some])
    centroids[some] = _unit(centroids[some])


def _sums(rows: Vector, ids: NDArray[np.int64], count: int) -> Vector:
    """Rows (N, D) added up by id -> (count, D). As products: np.add.at takes ten times as long, and holds other threads up."""
    total = np.zeros((count, EMBEDDING_DIM), np.float32)
    for first in range(0, len(rows), BATCH):
        part = slice(first, first + BATCH)
        total += (ids[part] == np.arange(count)[:, None]).astype(np.float32) @ rows[part]
    return total


def _nearest(rows: Vector, centroids: Vector) -> NDArray[np.int64]:
    alive = np.flatnonzero(centroids.any(1))
    index = faiss.IndexFlatIP(EMBEDDING_DIM)
    index.add(centroids[alive])
    found: NDArray[np.int64] = alive[index.search(np.ascontiguousarray(rows), 1)[1][:, 0]]
    return found


def _unit(rows: Vector) -> Vector:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-6, rows / np.maximum(length, 1e-6), 0).astype(np.float32)


def note(encoder: Encoder) -> str:
    """Each encoder has its own: servers of two versions do not take each other's clusters away."""
    return f"taste-clusters-{encoder.version:04x}"


async def load(notes: Notes, encoder: Encoder) -> TasteClusters | None:
    """The clusters fitted last to users of this encoder, if any. Raises StoreDamaged."""
    data = await notes.read(note(encoder))
    return TasteClusters.from_bytes(data) if data else None


async def refit(
    profiles: ProfileStore, notes: Notes, encoder: Encoder, options: ClusterOptions
) -> TasteClusters | None:
    """Fit to the users of now, keep and log the result; None when there are too few users, then nothing is kept of those
    before either, or when somebody else was faster."""
    stored = await notes.read(note(encoder))
    try:
        before = await load(notes, encoder)
    except StoreDamaged as error:
        log.warning("taste_clusters_lost", error=str(error))
        before = None
    seed = before.generation if before else 0
    users = await sample(profiles, encoder.version, seed)
    after = await asyncio.to_thread(fit, users, before, encoder.version, options, seed, time.time())
    if after is None:
        if stored:
            await notes.replace(note(encoder), stored, b"")
        return None
    if not await notes.replace(note(encoder), stored, after.to_bytes()):
        return None
    drift = after.drift[after.shares > 0]
    log.info(
        "taste_clusters_fitted",
        generation=after.generation,
        clusters=after.alive,
        users=after.users,
        drift_mean=round(float(drift.mean()), 4),
        drift_max=round(float(drift.max()), 4),
        moved=round(after.moved, 4),
    )
    return after


async def keep_fitted(
    profiles: ProfileStore,
    notes: Notes,
    encoder: Encoder,
    options: ClusterOptions,
    every_s: float,
    on_change: Callable[[TasteClusters], None],
    look_s: float = LOOK_S,
) -> None:
    """Fit when the clusters are `every_s` seconds old (0: leave that to others), and take over what others fit. Until cancelled."""
    generation, tried = 0, -math.inf
    while True:
        try:
            found = await load(notes, encoder)
            due = found is None or time.time() - found.fitted_at >= every_s
            if every_s and due and time.monotonic() - tried >= every_s:
                tried = time.monotonic()
                found = await refit(profiles, notes, encoder, options) or await load(notes, encoder)
            found = found or directions()
            if found.generation != generation:
                on_change(found)
                generation = found.generation
        except EyecatchError as error:
            log.warning("taste_clusters_failed", error=str(error))
        await asyncio.sleep(min(look_s, every_s or look_s))
