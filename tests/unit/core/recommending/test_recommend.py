"""The fast path when the stores it stands on do not answer."""

from collections.abc import Mapping, Sequence

import pytest
from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.errors import NotFound, StoreDamaged, Unavailable
from eyecatch.core.recommending.decisions import DecisionBuffer
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.recommend import Degraded, Recommender
from eyecatch.core.types import Cover, Vector

from tests.unit.core.recommending.test_decisions import Log
from tests.unit.core.recommending.test_ranking import SCORING, axis


class Stores:
    """Profiles and covers that can be away."""

    def __init__(self, profiles: bool, covers: bool, damaged: bool = False) -> None:
        self._profiles, self._covers, self._damaged = profiles, covers, damaged

    async def embedding(self, user_id: str, encoder: object) -> Vector | None:
        if not self._profiles:
            raise Unavailable("profiles away")
        if self._damaged:
            raise StoreDamaged("rubbish")
        return axis(1)

    async def pools(self, item_ids: Sequence[str]) -> Mapping[str, Sequence[Cover]]:
        if not self._covers:
            raise Unavailable("covers away")
        return {}


def recommender(profiles: bool, covers: bool, damaged: bool = False) -> Recommender:
    stores = Stores(profiles, covers, damaged)
    pools = Pools(stores, SCORING, 4)  # type: ignore[arg-type]
    pools.fill("a", [Cover("red", "a", "", axis(0)), Cover("blue", "a", "", axis(1))])
    return Recommender(
        pools, stores, MeanEncoder(), DecisionBuffer(Log(), pools), lambda item, user: True, exploration=0.0
    )  # type: ignore[arg-type]


async def test_without_profiles_the_answer_is_unpersonalised_and_says_so() -> None:
    answer = await recommender(profiles=False, covers=True).recommend("mia", ["a"])
    assert answer.degraded == [Degraded.PROFILE_UNAVAILABLE]
    assert not answer.personalised
    assert answer.ranked.full


async def test_a_profile_that_cannot_be_read_is_as_good_as_none() -> None:
    answer = await recommender(profiles=True, covers=True, damaged=True).recommend("mia", ["a"])
    assert answer.degraded == [Degraded.PROFILE_UNAVAILABLE]


async def test_without_covers_what_is_in_memory_is_answered() -> None:
    answer = await recommender(profiles=True, covers=False).recommend("mia", ["a", "elsewhere"])
    assert answer.degraded == [Degraded.COVERS_UNAVAILABLE]
    assert answer.ranked.filled.tolist() == [True, False]
    assert answer.ranked.dots[0] == 1, "still personalised"


async def test_an_unknown_item_is_not_excused_by_a_profile_store_that_is_away() -> None:
    with pytest.raises(NotFound):
        await recommender(profiles=False, covers=True).recommend("mia", ["elsewhere"])


async def test_decision_ids_do_not_fall_when_the_clock_is_set_back() -> None:
    ours = recommender(profiles=True, covers=True)
    first = await ours.recommend("", ["a"])
    ours._clock = lambda: 1.0
    second = await ours.recommend("", ["a"])
    assert second.decision_id[:12] == first.decision_id[:12]
