"""Covers on trial: a bounded share of first places, none of the others, and exact propensities."""

from collections import Counter

import numpy as np
import pytest
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.ranking import Ranker
from eyecatch.core.types import ORIGINAL, Cover, Standing, Trust

from tests.unit.core.recommending.test_ranking import SCORING, axis

TRIAL = Standing(Trust.ON_TRIAL)


def pools_with(*standings: Standing, mode: str = "trial") -> Pools:
    """The later a cover, the higher its stored reward."""
    pools = Pools(None, SCORING, 8, mode=mode)  # type: ignore[arg-type]
    covers = [
        Cover(f"c{n}", "a", "", axis(n), {"relevance": n / 10}, created_at=n, ruling=standing)
        for n, standing in enumerate(standings)
    ]
    pools.fill("a", covers)
    return pools


def first_places(
    pools: Pools, k: int, share: float, exploration: float = 0.0, rounds: int = 8000
) -> tuple[Counter[str], dict[str, float]]:
    ranker, slots = Ranker(pools, exploration, seed=5, trial_share=share), pools.slots(["a"])
    first: Counter[str] = Counter()
    propensities = {}
    for _ in range(rounds):
        ranked = ranker.rank(slots, axis(3), k)
        ids = [pools.ids[cover] for cover, filled in zip(ranked.covers, ranked.filled, strict=True) if filled]
        assert len(set(ids)) == len(ids)
        first[ids[0]] += 1
        propensities[ids[0]] = float(ranked.propensity[0])
    return first, propensities


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("exploration", [0.0, 0.2])
def test_the_share_is_bounded_and_the_propensities_are_the_frequencies(k: int, exploration: float) -> None:
    pools = pools_with(ORIGINAL, ORIGINAL, TRIAL, TRIAL)
    first, propensities = first_places(pools, k, 0.1, exploration)
    assert propensities["c2"] == propensities["c3"] == pytest.approx(0.05)
    assert sum(propensities.values()) == pytest.approx(1.0)
    for id, count in first.items():
        assert count / 8000 == pytest.approx(propensities[id], abs=0.015)
    if not exploration:
        assert set(first) == {"c1", "c2", "c3"}


def test_no_other_place_has_a_cover_on_trial() -> None:
    pools = pools_with(ORIGINAL, TRIAL, ORIGINAL, TRIAL)
    ranker, slots = Ranker(pools, 0.3, seed=1, trial_share=0.3), pools.slots(["a"])
    for _ in range(500):
        ranked = ranker.rank(slots, axis(3), 4)
        ids = [pools.ids[cover] for cover, filled in zip(ranked.covers, ranked.filled, strict=True) if filled]
        assert not {"c1", "c3"} & set(ids[1:])


def test_the_score_of_a_cover_on_trial_is_its_own() -> None:
    on_trial = pools_with(ORIGINAL, ORIGINAL, ORIGINAL, TRIAL)
    trusted = pools_with(ORIGINAL, ORIGINAL, ORIGINAL, ORIGINAL)
    tried = Ranker(on_trial, 0.0, seed=1, trial_share=0.5)
    while on_trial.ids[(ranked := tried.rank(on_trial.slots(["a"]), axis(3), 1)).covers[0]] != "c3":
        pass
    expected = Ranker(trusted, 0.0).rank(trusted.slots(["a"]), axis(3), 1)
    for name in ("scores", "dots", "contributions"):
        np.testing.assert_allclose(getattr(ranked, name), getattr(expected, name), rtol=1e-5)


@pytest.mark.parametrize("mode", ["off", "review", "trusted"])
def test_without_a_trial_no_cover_on_trial_is_shown(mode: str) -> None:
    pools = pools_with(ORIGINAL, TRIAL, mode=mode)
    assert set(first_places(pools, 2, 0.5, 0.5, rounds=300)[0]) == {"c0"}


def test_covers_on_trial_take_no_place_where_there_is_no_other() -> None:
    pools = pools_with(TRIAL, Standing(Trust.RETIRED))
    assert set(first_places(pools, 1, 0.01, rounds=200)[0]) == {"c0"}


def test_a_pinned_cover_is_the_only_one() -> None:
    pools = pools_with(ORIGINAL, Standing(Trust.TRUSTED, pinned=True), ORIGINAL, TRIAL)
    first, propensities = first_places(pools, 2, 0.5, 0.5, rounds=300)
    assert set(first) == {"c1"}
    assert propensities == {"c1": 1.0}


def test_an_item_whose_covers_are_all_retired_has_none() -> None:
    pools = pools_with(Standing(Trust.RETIRED), Standing(Trust.CANDIDATE))
    for k in (1, 2):
        ranked = Ranker(pools, 0.5, seed=1, trial_share=0.5).rank(pools.slots(["a"]), None, k)
        assert not ranked.filled.any()
        assert not ranked.full
    assert not pools.slots(["a"])[0] & pools.slots(["b"])[0]
