"""Composed covers and simulated tastes are deterministic and correct."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from icg.data import tastes
from icg.data.art import load_subjects, procedural
from icg.data.bank import AXES, build
from icg.data.compose import Look, all_looks, compose
from icg.data.icons import trim
from icg.errors import IcgError
from PIL import Image

SPRITE = procedural()[0].sprites["flat"]
LOOK = Look("flat", "ocean", "dots", "medium")


def test_the_composer_is_deterministic() -> None:
    first, again = (np.asarray(compose(SPRITE, LOOK, 3)) for _ in range(2))
    assert first.shape == (128, 128, 3)
    assert (first == again).all()
    assert (np.asarray(compose(SPRITE, LOOK, 4)) != first).any()


def test_every_look_differs() -> None:
    assert len(all_looks()) == np.prod([len(axis) for axis in AXES])
    looks = [Look("flat", p, b, f) for p in AXES[1] for b in AXES[2] for f in AXES[3]]
    assert len({compose(SPRITE, look, 0).tobytes() for look in looks}) == len(looks)


def test_the_bank_is_deterministic_and_balanced() -> None:
    subjects = procedural()
    one, two = build(subjects, 36, 5), build(subjects, 36, 5)
    assert (one.images == two.images).all()
    assert (np.bincount(one.subject) == 3).all()


def test_tastes_prefer_their_favourites() -> None:
    people = tastes.sample(50, np.random.default_rng(0))
    liked = people.utility(people.favourite[:, :4], people.favourite[:, 4]).diagonal()
    rng = np.random.default_rng(1)
    looks = np.stack([rng.integers(0, len(axis), 400) for axis in AXES], 1)
    utility = people.utility(looks, rng.integers(0, 5, 400))
    assert (liked[:, None] > utility).mean() > 0.97
    chosen = tastes.engaged(utility, 10, rng)
    assert np.take_along_axis(utility, chosen, 1).mean() > utility.mean() + 1


def test_trim_centres_the_ink() -> None:
    image = Image.new("RGBA", (100, 60))
    image.paste((255, 0, 0, 255), (70, 10, 90, 50))
    ys, xs = np.nonzero(trim(image, 96)[..., 3] > 128)
    assert abs(xs.mean() - 47.5) < 2
    assert abs(ys.mean() - 47.5) < 2


def test_missing_art_is_named(tmp_path: Path) -> None:
    with pytest.raises(IcgError, match="emoji-datasource"):
        load_subjects(tmp_path)
