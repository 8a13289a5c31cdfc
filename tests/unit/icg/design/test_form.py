"""Forms: whatever the model prefers, its text is allowed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icg import starter
from icg.design.form import Form, choose, encode, fill
from icg.design.kpi import DesignModel, form, prompt
from icg.design.palette import NAMED
from icg.design.schema import (
    AVOIDABLE,
    BRIGHTNESS,
    MAX_AVOID,
    MAX_COLOURS,
    PLACES,
    SIZES,
    STYLES,
    VIVIDNESS,
    WARMTH,
    Design,
)
from icg.errors import CheckpointError, IcgError
from icg.models import vlm as reading


@pytest.fixture(scope="module")
def model() -> DesignModel:
    return DesignModel.from_pretrained(starter.path() / "vlm")


@st.composite
def designs(draw: st.DrawFn) -> Design:
    names = draw(st.lists(st.sampled_from(list(NAMED)), min_size=1, max_size=MAX_COLOURS, unique=True))
    left, shares = 10, list[int]()
    for _ in names:
        most = min(left, shares[-1] if shares else 10)
        if most:
            shares.append(draw(st.integers(1, most)))
            left -= shares[-1]
    words = [draw(st.sampled_from(choices)) for choices in (BRIGHTNESS, WARMTH, VIVIDNESS, PLACES, SIZES, STYLES)]
    light, warm, vivid, place, size, style = words
    others = [word for word in AVOIDABLE if word not in {*names[: len(shares)], *words}]
    avoid = draw(st.lists(st.sampled_from(others), max_size=MAX_AVOID, unique=True))
    return Design(
        tuple(zip(names, shares, strict=False)), (light, warm, vivid), ("panda",), place, size, style, tuple(avoid)
    )


@settings(max_examples=40, deadline=None)
@given(design=designs())
def test_every_design_is_a_way_to_fill_in_the_form(model: DesignModel, design: Design) -> None:
    text = design.to_json()
    assert Design.from_json(text) == design
    ids, chosen = encode(model.pieces, form(["panda", "cut of meat"]), text)
    assert len(ids) == len(chosen)
    assert any(chosen)
    assert not chosen[-1]


def test_texts_of_an_untuned_model_validate(model: DesignModel) -> None:
    written = model.write("panda", "high", "account 3", 1.7e9, count=3, temperature=1.5)
    assert len(written) == 3
    assert len({d.to_json() for d in written}) > 1, "sampled apart"
    assert model.write("panda") == model.write("panda"), "without temperature always the likeliest"
    assert all(d.objects == ("panda",) for d in written)
    odd = 'a "red" \\ panda\n🐼'
    assert model.write(odd)[0].objects == (odd,)


def test_options_with_a_common_prefix_stay_whole(model: DesignModel) -> None:
    def long() -> Form:
        yield ['{"a":']
        yield ['"cut"', '"cut of meat"', '"cute"']
        yield ["}"]

    inputs = reading.inputs(model._processor, "cut of meat")
    for text in fill(model._vlm, model.pieces, inputs, long, count=4, temperature=2.0):
        assert text in {'{"a":"cut"}', '{"a":"cut of meat"}', '{"a":"cute"}'}


def test_a_choice_follows_the_prompt(model: DesignModel) -> None:
    """The starter's VLM was trained on captions such as "panda, ink style, ocean dots, medium"."""
    inputs = reading.inputs(model._processor, "panda, 3d")
    assert choose(model._vlm, model.pieces, inputs, ["style", "tomato", "night"]) == "style"


def test_each_text_is_told_from_another_prompt_as_firmly_as_it_says(model: DesignModel) -> None:
    """A prompt for ink with 3d as negative prompt, which has no effect at weight 1 and more at larger weights."""

    ink, other = (reading.inputs(model._processor, f"panda, {word}") for word in ("ink", "3d"))
    alone = fill(model._vlm, model.pieces, ink, lambda: form(["panda"]))
    both = fill(model._vlm, model.pieces, ink, lambda: form(["panda"]), 3, 0.0, other["input_ids"], (1.0, 4.0, 1.0))
    assert both[0] == both[2] == alone[0] != both[1]
    (apart,) = fill(model._vlm, model.pieces, ink, lambda: form(["panda"]), 1, 0.0, other["input_ids"], (4.0,))
    assert apart == both[1], "whatever shares the batch"


def test_a_value_outside_the_form_is_named(model: DesignModel) -> None:
    with pytest.raises(IcgError, match="allowed: one of"):
        encode(model.pieces, form(["panda"]), '{"colours":[["puce",4]')
    with pytest.raises(IcgError, match="after the end"):
        encode(model.pieces, iter_of("a"), "ab")
    with pytest.raises(IcgError, match="limit=3"):
        fill(model._vlm, model.pieces, reading.inputs(model._processor, "panda"), lambda: form(["panda"]), limit=3)
    with pytest.raises(IcgError, match="target='viral'"):
        prompt("panda", "", None, "viral")
    with pytest.raises(IcgError, match="title=''"):
        model.write(" ")
    with pytest.raises(CheckpointError, match=r"adapter_model.safetensors is missing"):
        DesignModel.from_pretrained(starter.path() / "vlm", "/nowhere")


def iter_of(text: str) -> Form:
    yield [text]


def test_the_prompt_holds_account_time_and_target() -> None:
    assert prompt("panda", "account 3", 1_700_000_000, "high") == "high likes: panda, account 3, tuesday evening."
    assert prompt("panda", "", None, "low") == "low likes: panda."
