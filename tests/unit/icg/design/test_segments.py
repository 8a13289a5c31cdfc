"""Segments: a group is described by what it has more of than others."""

from dataclasses import replace

import numpy as np
import pytest
from icg import starter
from icg.brief import Brief
from icg.design.schema import Design
from icg.design.segments import Group, Namer, Segment, describe, document, from_text, match, rerank, telling, words
from icg.errors import IcgError
from icg.models import vlm as reading
from PIL import Image

DARK = Design((("navy", 6),), ("dark", "cool", "vivid"), (), "centre", "large", "ink")
LIGHT = Design((("cream", 6),), ("light", "warm", "soft"), (), "centre", "small", "3d")


def groups() -> list[Group]:
    coffee = ["Espresso coffee cup", "Coffee beans", "Coffee grinder with a lid"] * 5 + ["Garden chair"]
    garden = ["Garden hose", "Garden chair", "Rose for the garden"] * 5 + ["Coffee cup"]
    return [
        Group("0", np.ones(4), 20, coffee, ["kitchen"] * 16, [DARK] * 4 + [LIGHT]),
        Group("1", -np.ones(4), 30, garden, ["outdoors"] * 15 + ["kitchen"], [LIGHT] * 5),
    ]


def test_a_group_is_described_by_its_over_represented_values() -> None:
    coffee, garden = describe(groups())
    assert coffee.words[0] == "coffee"
    assert garden.words[0] == "garden"
    assert not {"with", "a", "for", "the"} & {*coffee.words, *garden.words}
    assert (coffee.categories[0], garden.categories[0]) == ("kitchen", "outdoors")
    assert coffee.name == "coffee enthusiasts"
    assert {"navy", "ink", "dark"} <= set(coffee.looks)
    assert {"cream", "3d", "light"} <= set(garden.looks)
    assert "Likes coffee" in coffee.text
    assert coffee.users == 20


def test_a_description_finds_its_own_group() -> None:
    others = [document(group) for group in groups()]
    texts = [segment.text for segment in describe(groups())]
    assert [int(match(text, others).argmax()) for text in texts] == [0, 1]
    assert match("nothing of it", others).tolist() == [0, 0]


def test_a_group_like_all_others_gets_no_words_of_its_own() -> None:
    same = [Group(str(n), np.ones(4), 5, ["Coffee cup"], ["kitchen"], []) for n in range(3)]
    assert [segment.name for segment in describe(same)] == [
        "everybody else",
        "everybody else (1)",
        "everybody else (2)",
    ]
    assert telling([["a", "b"], ["a", "b"]]) == [set(), set()]


def test_the_vlm_chooses_among_names() -> None:
    namer = Namer(*reading.load(starter.path() / "vlm"))
    names = ["coffee enthusiasts", "cup enthusiasts", "kitchen enthusiasts"]
    assert namer(names, ["panda"]) in names
    assert namer(names[:1], ["panda"]) == names[0]


def test_names_tell_segments_apart() -> None:
    titles = ["blue sea", "blue boat"]
    groups = [Group(str(n), np.zeros(4, np.float32), 9, titles, ["sea"], []) for n in range(6)]
    before = [replace(describe(groups[:1])[0], id="5", name="Everybody else", edited=True)]
    names = [segment.name for segment in describe(groups, before)]
    assert names[5] == "Everybody else"
    assert len({name.casefold() for name in names}) == 6


def test_text_of_the_marketer_is_unchanged() -> None:
    first = describe(groups())
    edited = first[0].renamed("Baristas", "They know their beans.")
    again = describe(groups(), [edited, first[1]])
    assert (again[0].name, again[0].text, again[0].edited) == ("Baristas", "They know their beans.", True)
    assert again[1].name == first[1].name
    back = Segment.from_dict(edited.to_dict())
    assert back.name == "Baristas"
    np.testing.assert_allclose(back.embedding, edited.embedding)
    for bad in ("", "x" * 65, "a\nb"):
        with pytest.raises(IcgError, match="name="):
            first[0].renamed(bad)
    for broken in ({}, {**edited.to_dict(), "words": None}, {**edited.to_dict(), "more": 1}):
        with pytest.raises(IcgError, match="segment="):
            Segment.from_dict(broken)
    with pytest.raises(IcgError, match="engaged with nothing"):
        describe([Group("0", np.ones(4), 0, [], [], [])])


def test_a_segment_from_words_alone_points_to_covers_that_fit_them() -> None:
    covers = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    segment = from_text(
        "x", "coffee enthusiasts", ["cup", "mug", "hose", "chair"], np.array([0.9, 0.8, 0.1, 0.0]), covers, 2
    )
    np.testing.assert_allclose(segment.embedding, [1, 0, 0, 0])
    assert segment.words == ("cup", "mug")
    with pytest.raises(IcgError, match="covers=0"):
        from_text("x", "coffee", [], np.zeros(0), np.zeros((0, 4)))


class Rated:
    """A reward with known values."""

    range = (-1.0, 1.0)

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, values

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        return np.array(self.values, np.float32)


def test_reranking_weighs_the_title_against_the_taste() -> None:
    images = [Image.new("RGB", (8, 8))] * 3
    relevance, preference = Rated("clip", [0.3, 0.2, 0.1]), Rated("preference", [0.0, 0.5, 0.9])
    assert rerank(images, Brief("cup"), relevance, preference, weight=0.0).tolist() == [0, 1, 2]
    assert rerank(images, Brief("cup"), relevance, preference, weight=5.0).tolist() == [2, 1, 0]


def test_the_segments_words_reach_clip() -> None:
    class Reads(Rated):
        def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
            self.titles = [brief.title for brief in briefs]
            return super().__call__(images, briefs)

    clip, preference = Reads("clip", [0.1, 0.2]), Reads("preference", [0.0, 0.0])
    rerank([Image.new("RGB", (8, 8))] * 2, Brief("cup", audience="coffee enthusiasts"), clip, preference)
    assert clip.titles == ["cup, for coffee enthusiasts"] * 2
    assert preference.titles == ["cup"] * 2


def test_words_are_letters() -> None:
    assert words("The Coffee-Maker 3000 (of a café)") == ["coffee", "maker", "café"]
