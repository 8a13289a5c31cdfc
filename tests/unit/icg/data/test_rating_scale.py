"""Ratings on scales that are stated or certain."""

from __future__ import annotations

import pytest
from icg.data.rating_scale import RatingScale, meaning
from icg.errors import InputError


@pytest.mark.parametrize(
    ("stars", "action"),
    [(5, "like"), (4, "like"), (3.5, "click"), (3, "click"), (2.5, "impression"), (2, "dislike")],
)
def test_the_steps_of_stars(stars: float, action: str) -> None:
    assert meaning(stars) == action


@pytest.mark.parametrize(
    ("scale", "value", "stars"),
    [
        ("0.5-5", "4", 4),
        ("1-10", "4", 2),
        ("1-10", "8", 4),
        ("0-100", "10", 0.5),
        ("-10-10", "0", 2.5),
        ("-10--1", "-1", 5),
    ],
)
def test_a_rating_is_its_share_of_five_stars(scale: str, value: str, stars: float) -> None:
    assert RatingScale.parse(scale).stars(value) == stars


@pytest.mark.parametrize("value", ["0", "-1", "5.5", "nan", "x", ""])
def test_a_value_outside_the_scale_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"allowed: 0\.5 to 5"):
        RatingScale().stars(value)


@pytest.mark.parametrize("ratings", [["4", "8"], ["0", "1", "1"], ["0.3", "0.9"]])
def test_ratings_that_may_be_of_another_scale_need_a_stated_one(ratings: list[str]) -> None:
    with pytest.raises(InputError, match="--rating-scale LOWEST-HIGHEST states the scale"):
        RatingScale.of(ratings)


def test_ratings_up_to_five_are_stars() -> None:
    assert RatingScale.of(["-1", "0", "4.5", "", "x"]) == RatingScale(0.5, 5)


@pytest.mark.parametrize("text", ["", "5", "5-1", "a-b", "1-inf", "-"])
def test_other_text_is_no_scale(text: str) -> None:
    with pytest.raises(InputError, match=r"rating_scale=.*allowed: LOWEST-HIGHEST"):
        RatingScale.parse(text)
