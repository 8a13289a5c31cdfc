"""Fitting taste clusters: spherical mini-batch k-means on user embeddings, with a warm start that keeps ids. Knows no store.

A centroid is the direction of the sum of at least `least` users: one user is at most 1 / least of it. A fit contains nothing of
users who were forgotten before it, because it takes assignments from the fit before, but no sums.
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
from eyecatch.core.ports import Clock, Encoder, Notes, ProfileStore
from eyecatch.core.tastes.clusters import TasteClusters, directions
from eyecatch.core.types import EMBEDDING_DIM, Vector

log = structlog.get_logger(__name__)

SAMPLE = 100_000
BATCH = 4096
EPOCHS = 5
# A shorter embedding is mostly a mixture of clusters for a user with little behaviour: a fit to it would
# repeat the clusters.
KNOWN = 0.8
# How often a server looks for clusters that another process fitted.
POLL_S = 60.0


@dataclass(frozen=True)
class ClusterOptions:
    """At most `count` clusters of at least `least` users each."""

    count: int = 64
    least: int = 20


async def sample(profiles: ProfileStore, encoder: int, seed: int, size: int = SAMPLE) -> Vector:
    """Unit embeddings (N, D) of a uniform sample of at most `size` users of this encoder whose taste is known."""
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
    first = np.argsort(order)[:size]
    return rows[first], order[first]


def fit(
    users: Vector, before: TasteClusters | None, encoder: int, options: ClusterOptions, seed: int = 0, now: float = 0.0
) -> TasteClusters | None:
    """Clusters of users, unit embeddings (N, D). `before`: the clusters of the last fit with the same encoder, or None.

    None if there are too few users for two clusters. A cluster with too few users gets half of the widest one.
    """
    if len(users) < 4 * options.least:
        return None
    # At most so many that the mean cluster has twice the least size.
    target = min(options.count, len(users) // (2 * options.least))
    count = max(target, len(before.shares)) if before is not None else target
    rng = np.random.default_rng(seed)
    centroids = np.zeros((count, EMBEDDING_DIM), np.float32)
    if before is not None:
        centroids[: len(before.shares)] = before.centroids
    for _ in range(EPOCHS):
        _rebalance(users, centroids, target, options.least, rng)
        weight = np.zeros(count)
        shuffled = users[rng.permutation(len(users))]
        for first in range(0, len(users), BATCH):
            _step(shuffled[first : first + BATCH], centroids, weight)
    # The last step uses all users, so that a centroid depends only on its current users.
    nearest = _nearest(users, centroids)
    size = np.bincount(nearest, minlength=count)
    sums = _sums(users, nearest, count)
    sums[size < options.least] = 0
    centroids = _unit(sums)
    alive = centroids.any(1)
    shares = np.bincount(_nearest(users, centroids), minlength=count) / len(users) * alive
    # A cluster whose users all moved in the last step must not get a share of zero, which means a removed cluster.
    shares = np.where(alive, np.maximum(shares, 1 / len(users)), 0).astype(np.float32)
    after = TasteClusters(
        centroids, shares / shares.sum(), before.generation + 1 if before else 1, encoder, len(users), now
    )
    return _with_drift(after, before, users)


def _with_drift(after: TasteClusters, before: TasteClusters | None, users: Vector) -> TasteClusters:
    drift, moved = np.where(after.shares > 0, 1, 0).astype(np.float32), 1.0
    if before is not None:
        old = np.zeros_like(after.centroids)
        old[: len(before.shares)] = before.centroids
        drift = np.where(old.any(1) | after.centroids.any(1), 1 - (old * after.centroids).sum(1), 0).astype(np.float32)
        moved = float((before.nearest(users) != after.nearest(users)).mean())
    return TasteClusters(
        after.centroids, after.shares, after.generation, after.encoder, after.users, after.fitted_at, drift, moved
    )


def _rebalance(users: Vector, centroids: Vector, target: int, least: int, rng: np.random.Generator) -> None:
    """Approach `target` clusters of at least `least` users, in place: remove the smallest of too many, split the widest of too few."""
    if not centroids.any():
        centroids[0] = _unit(users.sum(0, keepdims=True))[0]
    size = np.bincount(_nearest(users, centroids), minlength=len(centroids))
    centroids[np.argsort(-size, kind="stable")[target:]] = 0
    nearest = _nearest(users, centroids)
    size = np.bincount(nearest, minlength=len(centroids))
    for empty in np.flatnonzero(size < least).tolist()[: target - int((size >= least).sum())]:
        distance = 1 - np.einsum("nd,nd->n", users, centroids[nearest])
        width = np.bincount(nearest, distance, minlength=len(centroids)) * (size >= 2 * least)
        widest = int(width.argmax())
        if not width[widest] > 0:
            return
        members = np.flatnonzero(nearest == widest)
        options = {"niter": 10, "nredo": 3, "spherical": True, "min_points_per_centroid": 1}
        means = faiss.Kmeans(EMBEDDING_DIM, 2, seed=int(rng.integers(1 << 30)), **options)
        means.train(users[members])
        halves: Vector = np.array(means.centroids, np.float32)
        moved = members[_nearest(users[members], halves) == 1]
        centroids[widest], centroids[empty] = halves[0], halves[1]
        nearest[moved] = empty
        size[widest], size[empty] = len(members) - len(moved), len(moved)


def _step(batch: Vector, centroids: Vector, weight: NDArray[np.float64]) -> None:
    """Move centroids towards their users in the batch, in place; the more users before, the smaller the step (arXiv:1002.4658)."""
    nearest = _nearest(batch, centroids)
    size = np.bincount(nearest, minlength=len(centroids))
    sums = _sums(batch, nearest, len(centroids))
    used = size > 0
    weight += size
    rate = np.asarray(size[used] / weight[used], np.float32)[:, None]
    means = sums[used] / np.asarray(size[used], np.float32)[:, None]
    centroids[used] += rate * (means - centroids[used])
    centroids[used] = _unit(centroids[used])


def _sums(rows: Vector, ids: NDArray[np.int64], count: int) -> Vector:
    """Sums of rows (N, D) by id -> (count, D). By matrix products: np.add.at takes ten times as long and blocks other threads."""
    total = np.zeros((count, EMBEDDING_DIM), np.float32)
    for first in range(0, len(rows), BATCH):
        part = slice(first, first + BATCH)
        total += (ids[part] == np.arange(count)[:, None]).astype(np.float32) @ rows[part]
    return total


def _nearest(rows: Vector, centroids: Vector) -> NDArray[np.int64]:
    alive = np.flatnonzero(centroids.any(1))
    index = faiss.IndexFlatIP(EMBEDDING_DIM)
    index.add(centroids[alive])
    nearest: NDArray[np.int64] = alive[index.search(np.ascontiguousarray(rows), 1)[1][:, 0]]
    return nearest


def _unit(rows: Vector) -> Vector:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-6, rows / np.maximum(length, 1e-6), 0).astype(np.float32)


def note(encoder: Encoder) -> str:
    """The name of the note. Each encoder version has its own, so that servers of two versions do not overwrite each other's clusters."""
    return f"taste-clusters-{encoder.version:04x}"


async def load(notes: Notes, encoder: Encoder) -> TasteClusters | None:
    """The last clusters fitted to users of this encoder, or None. Raises StoreDamaged."""
    data = await notes.read(note(encoder))
    return TasteClusters.from_bytes(data) if data else None


async def refit(
    profiles: ProfileStore, notes: Notes, encoder: Encoder, options: ClusterOptions, now: float
) -> TasteClusters | None:
    """Fit to the current users, store and log the result. None if another process was faster, or if there are too few users; then
    the stored clusters are removed."""
    stored = await notes.read(note(encoder))
    try:
        before = await load(notes, encoder)
    except StoreDamaged as error:
        log.warning("taste_clusters_lost", error=str(error))
        before = None
    seed = before.generation if before else 0
    users = await sample(profiles, encoder.version, seed)
    after = await asyncio.to_thread(fit, users, before, encoder.version, options, seed, now)
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
    clock: Clock,
    poll_s: float = POLL_S,
) -> None:
    """Fit when the clusters are `every_s` seconds old (0: never), and adopt the clusters of other processes. Runs until cancelled."""
    generation, last_try = 0, -math.inf
    while True:
        try:
            clusters = await load(notes, encoder)
            due = clusters is None or clock() - clusters.fitted_at >= every_s
            if every_s and due and time.monotonic() - last_try >= every_s:
                last_try = time.monotonic()
                clusters = await refit(profiles, notes, encoder, options, clock()) or await load(notes, encoder)
            clusters = clusters or directions()
            if clusters.generation != generation:
                on_change(clusters)
                generation = clusters.generation
        except EyecatchError as error:
            log.warning("taste_clusters_failed", error=str(error))
        await asyncio.sleep(min(poll_s, every_s or poll_s))
