"""Fitting taste clusters: found again, with the same ids, of nobody alone."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.core.types import EMBEDDING_DIM, Vector
from eyecatch.encoders.learned import LearnedEncoder
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep import clusters as module
from eyecatch.upkeep.clusters import ClusterOptions, fit, keep_fitted, load, note, refit, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from icg import starter

from tests.contracts.builders import Each, event, unit

OPTIONS = ClusterOptions(8, 10)


def crowd(sizes: list[int], seed: int = 0, noise: float = 0.05, first: int = 0) -> tuple[Vector, np.ndarray]:
    """Users around unit(first), unit(first + 1), ...: embeddings (N, D) and the number of each one's taste (N,)."""
    rng = np.random.default_rng(seed)
    taste = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = np.stack([unit(first + t) for t in taste]) + noise * rng.standard_normal((len(taste), EMBEDDING_DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), taste


def fit_clusters(
    users: Vector, before: TasteClusters | None = None, options: ClusterOptions = OPTIONS
) -> TasteClusters:
    result = fit(users, before, 5, options)
    assert result is not None
    return result


def test_tastes_are_found() -> None:
    users, taste = crowd([400, 200, 100, 50])
    result = fit_clusters(users, options=ClusterOptions(4, 10))
    ids = result.nearest(users)
    pairs = set(zip(taste.tolist(), ids.tolist(), strict=True))
    assert len(pairs) == result.alive == 4, "one cluster a taste"
    for t, id in pairs:
        assert result.centroids[id] @ unit(t) > 0.99
        assert result.shares[id] == pytest.approx((taste == t).mean(), abs=1e-6)
    assert (result.generation, result.encoder, result.users) == (1, 5, 750)


def test_mini_batches_see_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 64)
    users, taste = crowd([400, 200, 100, 50])
    result = fit_clusters(users, options=ClusterOptions(4, 10))
    assert len(set(zip(taste.tolist(), result.nearest(users).tolist(), strict=True))) == 4


def test_ids_are_stable_and_drift_is_reported() -> None:
    users, _ = crowd([300, 200, 100])
    first = fit_clusters(users)
    others, _ = crowd([300, 200, 100], seed=1)  # other people of the same tastes
    second = fit_clusters(others, first)
    assert second.generation == 2
    assert np.mean(first.nearest(others) == second.nearest(others)) == pytest.approx(1 - second.moved)
    by_taste = ClusterOptions(3, 10)
    first = fit_clusters(users, options=by_taste)
    second = fit_clusters(others, first, by_taste)
    assert second.moved == 0
    assert second.drift.max() < 0.01
    new, _ = crowd([300, 200, 100], seed=2)
    turned = (new + 0.5 * unit(77)) / np.linalg.norm(new + 0.5 * unit(77), axis=1, keepdims=True)
    third = fit_clusters(turned.astype(np.float32), second, by_taste)
    assert third.moved == 0, "everybody went the same way, so every id stays"
    expected = 1 - (second.centroids * third.centroids).sum(1)
    np.testing.assert_allclose(third.drift, expected, atol=1e-6)
    assert third.drift.min() > 0.02


def test_a_taste_that_dies_out_leaves_its_place_to_another() -> None:
    users, _ = crowd([200, 200, 200])
    first = fit_clusters(users, options=ClusterOptions(3, 10))
    now, taste = crowd([300, 300, 0, 300])
    second = fit_clusters(now, first, ClusterOptions(3, 10))
    assert second.alive == 3
    assert len(set(zip(taste.tolist(), second.nearest(now).tolist(), strict=True))) == 3
    only, _ = crowd([300, 20, 20])
    third = fit_clusters(only, second, ClusterOptions(3, 85))
    assert third.alive < 3
    assert (third.centroids[third.shares == 0] == 0).all(), "of too few users nothing is kept"


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 80), min_size=1, max_size=8),
    least=st.integers(2, 20),
    seed=st.integers(0, 9),
    warm=st.booleans(),
)
def test_every_centroid_is_the_mean_of_enough_users(sizes: list[int], least: int, seed: int, warm: bool) -> None:
    users, _ = crowd([1 + sizes[0], *sizes[1:]], seed, 0.3)
    options = ClusterOptions(16, least)
    before = fit(crowd([60, 60, 60, 60], seed + 1)[0], None, 5, options) if warm else None
    result = fit(users, before, 5, options)
    assert (result is None) == (len(users) < 4 * least)
    if result is None:
        return
    assert result.shares.sum() == pytest.approx(1, abs=1e-5)
    assert (result.shares >= 0).all()
    alive = result.shares > 0
    np.testing.assert_allclose(np.linalg.norm(result.centroids[alive], axis=1), 1, atol=1e-5)
    assert not result.centroids[~alive].any()
    # Were anybody's own embedding a centroid, the mean of the others could not point there, too.
    for centroid in result.centroids[alive]:
        assert (users @ centroid > 1 - 1e-6).sum() in (0, len(users)) or least == 1


def test_one_user_moves_a_centroid_by_no_more_than_their_share() -> None:
    users, _ = crowd([30, 30, 30], noise=0.02)
    options = ClusterOptions(3, 10)
    with_one, without = fit_clusters(users, options=options), fit_clusters(users[1:], options=options)
    best = (without.centroids @ with_one.centroids.T).max(1)
    assert np.sqrt(2 - 2 * best).max() < 2 / 10


async def test_the_sample_is_of_known_tastes_of_the_current_encoder(store: SqliteStore) -> None:
    new, old = Each(lambda events: unit(1), 9), Each(lambda events: unit(2), 8)
    short = Each(lambda events: 0.5 * unit(3), 9)
    await store.profiles.absorb([event("e", f"old{n}") for n in range(30)], old)
    await store.profiles.absorb([event("e", f"short{n}") for n in range(30)], short)
    await store.profiles.absorb([event("e", f"new{n}") for n in range(30)], new)
    users = await sample(store.profiles, 9, 0)
    assert users.shape == (30, EMBEDDING_DIM)
    np.testing.assert_allclose(users, np.tile(unit(1), (30, 1)), atol=3e-3)
    some = await sample(store.profiles, 9, 0, size=7)
    assert some.shape == (7, EMBEDDING_DIM)


async def populate(store: SqliteStore, users: Vector, version: int = 9) -> Each:
    encoder = Each(lambda events: users[int(events[0].user_id[1:])], version)
    await store.profiles.absorb([event("e", f"u{n}") for n in range(len(users))], encoder)
    return encoder


async def test_clusters_are_fitted_kept_and_fitted_again(store: SqliteStore) -> None:
    users, taste = crowd([60, 60])
    encoder = await populate(store, users)
    options = ClusterOptions(2, 10)
    assert await load(store.notes, encoder) is None
    first = await refit(store.profiles, store.notes, encoder, options, store.clock())
    assert first is not None
    saved = await load(store.notes, encoder)
    assert saved is not None
    np.testing.assert_array_equal(saved.centroids, first.centroids)
    other = Each(version=10)
    assert await load(store.notes, other) is None, "of another encoder"
    for n in np.flatnonzero(taste == 0)[:20]:
        await store.profiles.forget(f"u{n}")
    second = await refit(store.profiles, store.notes, encoder, options, store.clock())
    assert second is not None
    assert (second.generation, second.users) == (2, 100)
    left = users[[n for n in range(120) if n not in set(np.flatnonzero(taste == 0)[:20].tolist())]]
    fresh = fit(left, None, 9, options)
    assert fresh is not None
    same = (second.centroids @ fresh.centroids.T).max(1)
    assert same.min() > 1 - 1e-4, "as if the forgotten had never been there"
    assert await refit(store.profiles, store.notes, other, options, store.clock()) is None, (
        "nobody is encoded by it yet"
    )


async def test_a_lost_note_is_fitted_anew(store: SqliteStore) -> None:
    encoder = await populate(store, crowd([60, 60])[0])
    assert await store.notes.replace(note(encoder), None, b"broken")
    result = await refit(store.profiles, store.notes, encoder, ClusterOptions(2, 10), store.clock())
    assert result is not None
    assert result.generation == 1


async def test_servers_take_over_what_one_of_them_fits(store: SqliteStore) -> None:
    users, _ = crowd([60, 60])
    encoder = await populate(store, users)
    one: list[TasteClusters] = []
    two: list[TasteClusters] = []
    options = ClusterOptions(2, 10)
    tasks = [
        asyncio.ensure_future(
            keep_fitted(store.profiles, store.notes, encoder, options, 0, two.append, store.clock, 0.001)
        ),
        asyncio.ensure_future(
            keep_fitted(store.profiles, store.notes, encoder, options, 3600, one.append, store.clock, 0.001)
        ),
    ]
    async with asyncio.timeout(20):
        while not (one and two):
            await asyncio.sleep(0)
        await refit(store.profiles, store.notes, encoder, options, store.clock())  # a cron job
        while not (len(one) == len(two) == 2):
            await asyncio.sleep(0)
    assert [c.generation for c in one] == [c.generation for c in two] == [1, 2]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_the_learned_encoder_starts_cold_users_at_the_fitted_clusters() -> None:
    encoder = LearnedEncoder(starter.path())
    covers = {"c": unit(5)}
    like = [[event("e", cover_id="c")]]
    before = encoder(like, covers)[0]
    near = (unit(5) + 0.3 * unit(6)) / np.linalg.norm(unit(5) + 0.3 * unit(6))
    clusters = fit_clusters(crowd([40, 40], first=8)[0], options=ClusterOptions(2, 10))
    centroids = np.stack([near, clusters.centroids[1]]).astype(np.float32)
    encoder.adopt(replace(clusters, centroids=centroids))
    after = encoder(like, covers)[0]
    assert after @ near > before @ near + 0.2
    assert encoder.version == LearnedEncoder(starter.path()).version, "the space is the same"
