"""Real covers alike: of the look that was decided on, and drawn covers on real grounds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from icg.brief import Brief
from icg.compose.cover import compose
from icg.compose.layout import Place
from icg.data.art import procedural
from icg.data.compose import BACKDROPS, PALETTES, PLACES, Look, stable_seed
from icg.data.grounds import ground
from icg.evaluate import alike
from PIL import Image

from tests.unit.icg.draw.test_studios import USERS, decision, product

LOOK = Look("flat", list(PALETTES)[1], BACKDROPS[0], "corner")


def pipeline(decided: Any) -> Any:
    drawer = SimpleNamespace(adapter=SimpleNamespace(decision=decided))
    return SimpleNamespace(drawer=lambda ground: drawer, user=lambda brief: torch.tensor(brief.user_embedding)[None])


def brief() -> Brief:
    return Brief("mug", product=product(), user_embedding=USERS[1], ground=True, size=(64, 64))


def cover(place: str) -> Image.Image:
    return compose(brief(), Image.new("RGB", (64, 64), "grey"), Place(*PLACES[place]))


def test_a_look_is_what_was_decided_on_for_the_user_and_where_the_picture_is() -> None:
    filled = Image.new("RGB", (64, 64))
    looks = alike.looks(pipeline(decision()), [brief()] * 2, [cover("corner"), filled], ["flat", "ink"])
    assert looks == [LOOK, Look("ink", LOOK.palette, LOOK.backdrop, "close")]


def test_an_adapter_that_decides_on_nothing_has_no_such_looks() -> None:
    assert alike.looks(pipeline(None), [brief()], [cover("corner")], ["flat"]) == []


def test_the_same_subject_is_composed_in_this_look() -> None:
    subject = procedural()[0]
    (picture,) = alike.real([LOOK], [subject])
    assert alike.real([LOOK], [subject])[0].tobytes() == picture.tobytes()
    assert alike.real([Look("flat", LOOK.palette, LOOK.backdrop, "close")], [subject])[0].tobytes() != picture.tobytes()


def test_a_real_ground_takes_the_place_of_the_drawn_one_and_nothing_else_changes() -> None:
    picture = cover("corner")
    (changed,) = alike.on_real_grounds([LOOK], [brief()], [picture])
    assert changed.info["place"] == picture.info["place"]
    bare = np.asarray(ground(LOOK.palette, LOOK.backdrop, stable_seed("alike", 0), max(picture.size)))
    assert (np.asarray(changed)[0] == bare[0]).all(), "the first row has neither subject nor shadow"
    middle = tuple(round(edge * 0.67) for edge in picture.size)
    assert changed.getpixel(middle) == picture.getpixel(middle)
