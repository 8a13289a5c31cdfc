"""The first standing of a made cover, and the gate of quality."""

import pytest
from eyecatch.core.score import RewardSpec, Scoring
from eyecatch.core.trust.standing import MODES, advanced, first_standing, unsafe, visible, worse
from eyecatch.core.types import UNCHECKED, Cover, Origin, Provenance, Standing, Trust, zeros

SCORING = Scoring(RewardSpec("preference", 1.0), (RewardSpec("aesthetic", 1.0, 0.5, 0.2), RewardSpec("relevance", 1.0)))


def cover(id: str, generated: bool = False, ruling: Standing | None = None, **rewards: float) -> Cover:
    origin = Origin.GENERATED if generated else Origin.CATALOGUE
    return Cover(id, "a", "", zeros(), rewards, Provenance(origin), ruling=ruling)


@pytest.mark.parametrize(("mode", "trust"), list(zip(MODES, (1, 1, 2, 3), strict=True)))
def test_a_cover_that_passes_stands_as_the_mode_says_and_one_that_fails_waits(mode: str, trust: int) -> None:
    assert first_standing((), mode) == Standing(Trust(trust))
    assert first_standing(("blurred",), mode) == Standing(Trust.CANDIDATE, ("blurred",))


def test_a_made_cover_must_not_be_worse_than_the_best_catalogue_cover() -> None:
    pool = [cover("o1", aesthetic=0.4), cover("o2", aesthetic=0.7), cover("m", generated=True, aesthetic=0.9)]
    assert worse({"aesthetic": 0.31}, pool, SCORING) == ()
    (reason,) = worse({"aesthetic": 0.29, "relevance": -9.0}, pool, SCORING)
    assert reason == "aesthetic: got 0.29; allowed: at least 0.30, near the item's own"
    assert worse({"aesthetic": 0.0}, [], SCORING) == (), "an item without a picture"
    retired = cover("o2", aesthetic=0.7, ruling=Standing(Trust.RETIRED))
    assert worse({"aesthetic": 0.1}, [pool[0], retired], SCORING) == ()


def test_the_gate_of_safety_wants_a_rating() -> None:
    assert unsafe({}, None) == ()
    assert unsafe({"safety": 0.5}, 0.5) == ()
    assert unsafe({"safety": 0.49}, 0.5) == ("safety: got 0.49; allowed: at least 0.50",)
    assert unsafe({}, 0.5) == ("safety: not rated; allowed: at least 0.50",)


def test_another_mode_moves_only_what_passed_the_gates_and_only_upwards() -> None:
    passed, on_trial = Standing(Trust.CANDIDATE), Standing(Trust.ON_TRIAL)
    assert advanced(passed, "trial") == on_trial
    assert advanced(on_trial, "trusted") == Standing(Trust.TRUSTED)
    for standing, mode in (
        (passed, "review"),
        (on_trial, "review"),
        (on_trial, "trial"),
        (UNCHECKED, "trusted"),
        (Standing(Trust.CANDIDATE, ("blurred",)), "trusted"),
        (Standing(Trust.RETIRED), "trusted"),
    ):
        assert advanced(standing, mode) is None


def test_with_made_covers_off_only_originals_are_visible() -> None:
    covers = [cover("o"), cover("m", generated=True, ruling=Standing(Trust.TRUSTED, pinned=True))]
    assert [c.id for c in visible(covers, "off")[0]] == ["o"]
    assert [c.id for c in visible(covers, "review")[0]] == ["m"]
