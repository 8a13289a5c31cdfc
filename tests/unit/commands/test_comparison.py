"""Why a cover won, in words: from the parts of two scores, or from the gates that a made cover failed."""

import pytest
from eyecatch.commands.comparison import Comparison, difference_in_words, gate_in_words
from eyecatch.core.defaults import SCORING
from eyecatch.v1 import types_pb2


def scored(id: str, **parts: float) -> types_pb2.ScoredCover:
    named = [types_pb2.RewardPart(name=name, contribution=value) for name, value in parts.items()]
    return types_pb2.ScoredCover(cover_id=id, score=sum(parts.values()), parts=named)


POOL, OWN = scored("pool", aesthetic=0.3, preference=0.5), scored("made", aesthetic=0.2, preference=1.0)


def test_a_made_cover_wins_with_its_advantages_before_its_drawbacks() -> None:
    comparison = Comparison("mia", "fox", POOL, after=OWN)
    comparison.choose_best([OWN, POOL], {"made": "mia"})
    assert comparison.won
    assert comparison.headline == "Made cover wins by 0.40"
    assert comparison.reason == "Closer to what mia likes (+0.50) but looks plainer (-0.10)"


def test_a_pool_cover_that_stays_has_a_reason_too() -> None:
    worse = scored("made", aesthetic=0.4, preference=0.2)
    comparison = Comparison("mia", "fox", POOL, after=POOL)
    comparison.choose_best([POOL, worse], {"made": "mia"})
    assert not comparison.won
    assert comparison.headline == "Pool cover wins by 0.20"
    assert comparison.reason == "Closer to what mia likes (+0.30) but looks plainer (-0.10)"


def test_of_made_covers_the_users_own_is_compared_unless_another_wins() -> None:
    own, other = scored("own", preference=0.1), scored("other", preference=0.2)
    made_for = {"own": "mia", "other": "noah"}
    comparison = Comparison("mia", "fox", POOL, after=POOL)
    comparison.choose_best([POOL, other, own], made_for)
    assert (comparison.shown, comparison.best_for) == ("own", "mia")
    other = scored("other", preference=2.0)
    comparison.after = other
    comparison.choose_best([other, POOL, own], made_for)
    assert comparison.shown == "other"
    assert comparison.reason.startswith("Drawn for noah; closer to what mia likes (+1.50)")


def test_covers_that_failed_gates_wait_and_say_why() -> None:
    gates = ["fidelity=0.31; allowed: at least 0.5"], ["domain=0.1; allowed: at least 0.5", "artifacts=0.2"]
    covers = [types_pb2.Cover(id=f"made{n}", reasons=reasons) for n, reasons in enumerate(reversed(gates))]
    comparison = Comparison("mia", "fox", POOL, after=POOL, new=covers)
    comparison.choose_best([POOL], {cover.id: "mia" for cover in covers})
    assert (comparison.won, comparison.shown) == (False, "made1"), "the one that failed fewer gates"
    assert comparison.headline == "Made cover waits for review"
    assert comparison.reason == "Does not show the item as its own picture does (0.31, needs 0.5)"


def test_without_any_made_cover_there_is_nothing_to_show() -> None:
    comparison = Comparison("mia", "fox", POOL)
    assert (comparison.shown, comparison.headline, comparison.reason) == ("", "No cover was drawn", "")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            "aesthetic: got 0.68; allowed: at least 0.73, near the item's own",
            "looks worse than the item's own covers (0.68, needs 0.73)",
        ),
        ("artifacts=0.26; allowed: at least 0.3", "looks damaged (0.26, needs 0.3)"),
        ("gates: the generator measured none; allowed: an editor's approval",) * 2,
    ],
)
def test_gates_in_words(reason: str, words: str) -> None:
    assert gate_in_words(reason) == words


def test_only_the_three_largest_parts_that_count_are_named() -> None:
    words = difference_in_words("mia", {"a": 0.5, "b": 0.4, "c": 0.3, "d": 0.2, "preference": 0.001}, {"c": 0.9})
    assert words == "more a (+0.50), more b (+0.40) but less c (-0.60)"
    assert difference_in_words("mia", {"a": 0.001}, {}) == "no difference that counts"


def test_every_reward_of_the_default_score_has_words() -> None:
    for name in [SCORING.preference.name, *(spec.name for spec in SCORING.stored)]:
        assert f"more {name}" not in difference_in_words("mia", {name: 1.0}, {})
        assert f"less {name}" not in difference_in_words("mia", {name: -1.0}, {})
