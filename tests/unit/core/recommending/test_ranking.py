"""Scores, choices and propensities."""

from collections import Counter

import numpy as np
import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.ranking import Ranked, Ranker
from eyecatch.core.score import RewardSpec, Scoring
from eyecatch.core.types import EMBEDDING_DIM, Cover

SCORING = Scoring(RewardSpec("preference", 2.0, 0.1, 0.5), (RewardSpec("relevance", 0.5, 0.3, 0.2),))


def axis(i: int) -> np.ndarray:
    vector = np.zeros(EMBEDDING_DIM, np.float32)
    vector[i] = 1.0
    return vector


def pools_of(*relevance: float | None, width: int = 8) -> Pools:
    pools = Pools(None, SCORING, width)  # type: ignore[arg-type]
    rewards = [{} if r is None else {"relevance": r} for r in relevance]
    pools.fill("a", [Cover(f"c{i}", "a", "", axis(i), r, created_at=i) for i, r in enumerate(rewards)])
    return pools


def places(pools: Pools, ranked: Ranked) -> tuple[int, ...]:
    return tuple(int(pools.ids[cover].removeprefix("c")) for cover in ranked.covers)


def test_a_score_is_weight_times_standardised_value() -> None:
    pools = pools_of(0.7, None)
    ranked = Ranker(pools, 0.0).rank(pools.slots(["a"]), axis(1), 2)
    columns = np.stack([ranked.scores, ranked.dots, ranked.contributions], 1).tolist()
    by_id = dict(zip([pools.ids[c] for c in ranked.covers], columns, strict=True))
    assert by_id["c0"] == pytest.approx((2 / 0.5 * (0 - 0.1) + 0.5 / 0.2 * (0.7 - 0.3), 0.0, -0.4), abs=1e-5)
    assert by_id["c1"] == pytest.approx((2 / 0.5 * (1 - 0.1), 1.0, 3.6), abs=1e-5), (
        "a missing reward counts as its mean"
    )


def test_a_sample_of_rewards_has_those_of_the_covers_of_now() -> None:
    pools = pools_of(0.1, 0.9, 0.5)
    pools.fill("a", [Cover("c3", "a", "", axis(3), {"relevance": 0.25}, created_at=3)])
    assert pools.reward_sample(100)["relevance"].tolist() == [0.25]
    assert pools.sizes().tolist() == [1]


def test_without_a_user_only_stored_rewards_count() -> None:
    pools = pools_of(0.1, 0.9, 0.5)
    ranked = Ranker(pools, 0.0).rank(pools.slots(["a"]), None, 3)
    assert places(pools, ranked) == (1, 2, 0)
    assert not ranked.dots.any()
    assert not ranked.contributions.any()


def test_propensities_are_the_frequencies_of_being_first() -> None:
    pools = pools_of(0.1, 0.9, 0.5)
    for k in (1, 3):
        ranker, slots = Ranker(pools, 0.3, seed=1), pools.slots(["a"])
        first, output = Counter(), {}
        for _ in range(6000):
            ranked = ranker.rank(slots, None, k)
            order = places(pools, ranked)
            first[order[0]] += 1
            output.setdefault(order[0], ranked.propensity[0])
            assert len(set(order)) == k
            if k == 3:
                assert sum(ranked.propensity) == pytest.approx(1.0)
        assert output == pytest.approx({0: 0.1, 1: 0.8, 2: 0.1})
        for place, propensity in output.items():
            assert first[place] / 6000 == pytest.approx(propensity, abs=0.02)


def test_an_explored_cover_swaps_places_with_the_best() -> None:
    pools = pools_of(0.1, 0.9, 0.5)
    ranker, slots = Ranker(pools, 1.0, seed=3), pools.slots(["a"])
    calls = {places(pools, ranker.rank(slots, None, 2)) for _ in range(200)}
    assert calls == {(1, 2), (2, 1), (0, 2)}, "best two, swapped, and one drawn from outside"


def test_pools_keep_the_best_covers_and_forget_the_oldest_item() -> None:
    pools = Pools(None, SCORING, width=2, max_items=300)  # type: ignore[arg-type]
    covers = [Cover(f"c{i}", "a", "", axis(i), {"relevance": r}) for i, r in enumerate((0.2, 0.9, 0.5))]
    pools.fill("a", covers)
    (slot,) = pools.slots(["a"])
    assert pools.ids[2 * slot : 2 * slot + 2] == ["c1", "c2"]
    for n in range(300):
        pools.fill(f"i{n}", covers)
    assert pools.slots(["a", "i0", "i299"])[0] == 0
    assert len(set(pools.slots([f"i{n}" for n in range(300)]))) == 300
    pools.drop(["i5"])
    assert pools.slots(["i5"]) == [0]


@pytest.mark.parametrize("text", ["preference", "preference=x", "fame=1", "relevance=nan"])
def test_bad_weights_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="reward_weights"):
        Scoring.parse(text, SCORING)


def test_weights_replace_the_defaults() -> None:
    scoring = Scoring.parse("relevance=3, preference=0", SCORING)
    assert (scoring.preference.weight, scoring.stored[0].weight, scoring.stored[0].mean) == (0.0, 3.0, 0.3)


def test_a_reward_without_a_weight_is_left_out_until_it_is_given_one() -> None:
    base = Scoring(SCORING.preference, (*SCORING.stored, RewardSpec("fame", 0.0, 0.2, 0.1)))
    for text, names in (("", ["relevance"]), ("relevance=0,fame=0", ["relevance"]), ("fame=1", ["relevance", "fame"])):
        scoring = Scoring.parse(text, base)
        assert [s.name for s in scoring.stored] == names
        assert scoring.stores("fame") == ("fame" in names)
    assert scoring.contributions(scoring.raw({"fame": 0.4})).tolist() == pytest.approx([0, 2])


def test_learned_clicks_are_a_reward_of_their_own_once_it_has_a_weight() -> None:
    def best(weight: float) -> str:
        pools = Pools(None, Scoring(SCORING.preference, (RewardSpec("clicks", weight, 0.0, 0.5),)), 4)  # type: ignore[arg-type]
        pools.clicks = {"c1": 0.4, "c2": -0.4}
        pools.fill("a", [Cover(f"c{i}", "a", "", axis(i), {}, created_at=i) for i in range(3)])
        ranked = Ranker(pools, 0.0).rank(pools.slots(["a"]), None, 3)
        assert sorted(ranked.scores.tolist()) == pytest.approx(sorted([0.0, 0.8 * weight, -0.8 * weight]))
        return pools.ids[ranked.covers[0]]

    assert best(1.0) == "c1"
    assert best(-1.0) == "c2"
