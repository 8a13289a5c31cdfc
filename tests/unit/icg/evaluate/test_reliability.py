"""The figures of `icg evaluate reliability`, on pictures whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from icg.brief import Brief
from icg.errors import CheckpointError
from icg.evaluate.product_briefs import PARTS, briefs, products
from icg.evaluate.reliability import DRAWS, ENGINEERED, Drawn, draw, figures, validated
from icg.reliability.judge import Judgement
from icg.starter import Starter
from PIL import Image

from tests.unit.icg.models.test_families import covers_of
from tests.unit.icg.products.test_inpainting import asked, controlled, cut_out


def drawn(colours: Sequence[tuple[int, int, int]]) -> Drawn:
    """Covers of one colour each, a product in the middle of all."""
    placed = Image.new("RGBA", (64, 64))
    placed.paste((9, 9, 9, 255), (24, 24, 40, 40))
    covers = [Image.new("RGB", (64, 64), c) for c in colours]
    for cover in covers:
        cover.paste(placed, (0, 0), placed)
    return Drawn([asked() for _ in colours], covers, [placed] * len(covers))


class Patient:
    """Shows every picture whose red is above a half, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(
        self, images: Sequence[Image.Image], products: Sequence[Image.Image], captions: Sequence[str]
    ) -> list[Judgement]:
        self.told += captions
        red = [i.getpixel((0, 0))[0] > 127 for i in images]
        return [Judgement({"available": float(r), "space_mismatch": float(not r)}, r) for r in red]


class Constant:
    name, range = "relevance", (-1.0, 1.0)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        return np.full(len(images), 0.25, np.float32)


def test_attempts_and_best_of_n_follow_the_order_of_draws() -> None:
    red, blue = (200, 0, 0), (0, 0, 200)
    judge, second = Patient(), Patient()
    found = figures(
        judge, second, Constant(), drawn([red, blue, blue, blue, blue, blue, red, blue, blue, blue, blue, blue])
    )  # type: ignore[arg-type]
    assert found["available"] == found["available_by_second"] == pytest.approx(2 / 12)
    assert found["best_of_n"] == pytest.approx(2 / 3)
    assert found["attempts"] == pytest.approx((1 + 3 + DRAWS) / 3)
    assert found["relevance"] == 0.25
    assert 0 <= found["available_by_rule"] <= 1


def test_an_engineered_caption_is_drawn_and_not_judged() -> None:
    judge = Patient()
    made = drawn([(0, 0, 0)] * DRAWS)
    made = Drawn([Brief("a ball" + ENGINEERED, product=cut_out(), inpaint=True)] * DRAWS, made.covers, made.placed)
    figures(judge, None, Constant(), made)  # type: ignore[arg-type]
    assert set(judge.told) == {"a ball"}


def test_each_brief_is_drawn_with_seeds_of_its_own(small: Starter) -> None:
    made = draw(controlled(covers_of(small, "sana")), [asked(seed=3), asked(seed=50)])
    assert [b.seed for b in made.asked] == [3, 4, 5, 6, 50, 51, 52, 53]
    assert len(made.covers) == len(made.placed) == 2 * DRAWS
    for cover, placed in zip(made.covers, made.placed, strict=True):
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
    found = validated(parts, subjects, 1)
    assert len(judge.told) == DRAWS
    assert all("tent" in caption for caption in judge.told), "of these three RFFT and the last word leave it alone"
    assert found.keys() >= {"available", "distance", "attempts"}
    with pytest.raises(CheckpointError, match="without reliability"):
        validated(replace(parts, judge=None), subjects, 1)
