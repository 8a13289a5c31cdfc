"""The figures of `icg evaluate reliability`, on pictures with known answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from icg.brief import Brief
from icg.errors import CheckpointError
from icg.evaluate.product_briefs import PARTS, briefs, products
from icg.evaluate.reliability import DRAWS, ENGINEERED, ProductCovers, draw, figures, validated
from icg.reliability.judge import Judgement
from icg.starter import Starter
from PIL import Image

from tests.unit.icg.models.test_families import covers_of
from tests.unit.icg.products.test_inpainting import controlled, cut_out, product_brief


def covers_of_colours(colours: Sequence[tuple[int, int, int]]) -> ProductCovers:
    """Covers of one colour each, with a product in the middle."""
    placed = Image.new("RGBA", (64, 64))
    placed.paste((9, 9, 9, 255), (24, 24, 40, 40))
    covers = [Image.new("RGB", (64, 64), c) for c in colours]
    for cover in covers:
        cover.paste(placed, (0, 0), placed)
    return ProductCovers([product_brief() for _ in colours], covers, [placed] * len(covers))


class Patient:
    """Accepts every picture whose red is above a half, and records its captions."""

    def __init__(self) -> None:
        self.captions: list[str] = []

    def __call__(
        self, images: Sequence[Image.Image], products: Sequence[Image.Image], captions: Sequence[str]
    ) -> list[Judgement]:
        self.captions += captions
        red = [i.getpixel((0, 0))[0] > 127 for i in images]
        return [Judgement({"available": float(r), "space_mismatch": float(not r)}, r) for r in red]


class Constant:
    name, range = "relevance", (-1.0, 1.0)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        return np.full(len(images), 0.25, np.float32)


def test_attempts_and_best_of_n_follow_the_order_of_draws() -> None:
    red, blue = (200, 0, 0), (0, 0, 200)
    judge, second = Patient(), Patient()
    values = figures(
        judge,
        second,
        Constant(),
        covers_of_colours([red, blue, blue, blue, blue, blue, red, blue, blue, blue, blue, blue]),
    )  # type: ignore[arg-type]
    assert values["available"] == values["available_by_second"] == pytest.approx(2 / 12)
    assert values["best_of_n"] == pytest.approx(2 / 3)
    assert values["attempts"] == pytest.approx((1 + 3 + DRAWS) / 3)
    assert values["relevance"] == 0.25
    assert 0 <= values["available_by_rule"] <= 1


def test_an_engineered_caption_is_drawn_and_not_judged() -> None:
    judge = Patient()
    covers = covers_of_colours([(0, 0, 0)] * DRAWS)
    covers = ProductCovers(
        [Brief("a ball" + ENGINEERED, product=cut_out(), inpaint=True)] * DRAWS, covers.covers, covers.placed
    )
    figures(judge, None, Constant(), covers)  # type: ignore[arg-type]
    assert set(judge.captions) == {"a ball"}


def test_each_brief_is_drawn_with_seeds_of_its_own(small: Starter) -> None:
    covers = draw(controlled(covers_of(small, "sana")), [product_brief(seed=3), product_brief(seed=50)])
    assert [b.seed for b in covers.briefs] == [3, 4, 5, 6, 50, 51, 52, 53]
    assert len(covers.covers) == len(covers.placed) == 2 * DRAWS
    for cover, placed in zip(covers.covers, covers.placed, strict=True):
        solid = np.asarray(placed)[..., 3] == 255
        assert np.array_equal(np.asarray(cover)[solid], np.asarray(placed)[..., :3][solid])


def test_briefs_are_of_products_of_known_size() -> None:
    from icg.data.art import procedural

    subjects = procedural(2)
    object.__setattr__(subjects[0], "title", "soccer ball")
    parts = [products(subjects, name) for name in PARTS]
    assert sum(map(len, parts)) == 1
    known = next(part for part in parts if part)
    first, again = (briefs(known, 5, np.random.default_rng(0)) for _ in range(2))
    assert [b.digest() for b in first] == [b.digest() for b in again]
    assert all("soccer ball" in b.title and b.inpaint for b in first)
    assert len({b.seed for b in first}) == 5


def test_validation_products_alone_are_drawn_for(small: Starter) -> None:
    from icg.data.art import procedural

    subjects = procedural(3)
    for subject, title in zip(subjects, ("tent", "soccer ball", "chair"), strict=True):
        object.__setattr__(subject, "title", title)
    judge = Patient()
    pipeline = controlled(covers_of(small, "sana"))
    parts = replace(small, pipeline=pipeline, rewards={"relevance": Constant()}, judge=judge)  # type: ignore
    values = validated(parts, subjects, 1)
    assert len(judge.captions) == DRAWS
    assert all("tent" in caption for caption in judge.captions), "RFFT and the final test do not use these three"
    assert values.keys() >= {"available", "distance", "attempts"}
    with pytest.raises(CheckpointError, match="without reliability"):
        validated(replace(parts, judge=None), subjects, 1)
