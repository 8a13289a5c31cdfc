"""Designs are validated: errors name the field."""

import json

import numpy as np
import pytest
from icg.design.features import WIDTH, Direction, features
from icg.design.palette import NAMED, palette, rgb, to_lab
from icg.design.schema import Design
from icg.errors import CheckpointError, IcgError
from PIL import Image

GOOD = Design((("navy", 5), ("sky", 3)), ("dark", "cool", "vivid"), ("panda",), "centre", "large", "ink", ("cream",))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("colours", [["puce", 4]], "colours="),
        ("colours", [], "colours="),
        ("colours", [["navy", 5], ["navy", 2]], "colours="),
        ("colours", [["navy", 2], ["sky", 5]], "shares"),
        ("colours", [["navy", 8], ["sky", 8]], "shares"),
        ("colours", [["navy", 0.5]], "shares"),
        ("colours", [["navy", True]], "shares"),
        ("colours", "navy", "colours="),
        ("colours", [["navy"]], "colours="),
        ("tones", ["dark", "cool"], "tones="),
        ("tones", ["dark", "warm", "loud"], "tones='loud'"),
        ("objects", ["a", "b", "c", "d"], "objects="),
        ("objects", [""], "objects="),
        ("objects", [5], "objects="),
        ("place", "top", "place='top'"),
        ("size", None, "size=None"),
        ("style", "baroque", "style='baroque'"),
        ("avoid", ["cream", "cream"], "avoid="),
        ("avoid", ["taxes"], "avoid='taxes'"),
        ("avoid", ["navy"], "avoid='navy'"),
        ("avoid", {}, "avoid="),
    ],
)
def test_a_design_that_does_not_validate_is_refused_by_field(field: str, value: object, message: str) -> None:
    values = json.loads(GOOD.to_json()) | {field: value}
    with pytest.raises(IcgError, match=f"{message}.*allowed"):
        Design.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"colours": []}', "[" * 3000, GOOD.to_json()[:-1], GOOD.to_json() + "x"]
)
def test_an_invalid_design_is_refused(text: str) -> None:
    with pytest.raises(IcgError, match="design"):
        Design.from_json(text)


def test_people_see_hex_codes_and_shares() -> None:
    display = GOOD.to_display()
    assert display["colours"][0] == {"name": "navy", "hex": NAMED["navy"], "share": 0.5}
    assert GOOD.phrase() == "ink style, navy, sky, dark cool vivid, large"


def test_a_palette_holds_the_colours_of_the_picture() -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:] = rgb(NAMED["sky"])
    picture[:18] = rgb(NAMED["red"])
    colours = palette(Image.fromarray(picture))
    assert [c.name for c in colours] == ["sky", "red"]
    assert colours[0].share == pytest.approx(0.7, abs=0.02)
    assert np.abs(np.array(rgb(colours[1].hex)) - rgb(NAMED["red"])).max() <= 4
    assert all(palette(Image.new("RGB", (9, 9), code))[0].name == name for name, code in NAMED.items())


def test_lab_is_cie_lab() -> None:
    """Reference values of the sRGB primaries, D65."""
    np.testing.assert_allclose(
        to_lab(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]])),
        [[53.24, 80.09, 67.20], [87.74, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0], [0, 0, 0]],
        atol=0.02,
    )


def test_a_direction_points_to_pictures_of_that_design(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    choices = [GOOD, Design((("cream", 9),), ("light", "warm", "soft"), (), "left", "small", "flat")]
    designs = [choices[n % 2] for n in range(60)]
    axes = rng.standard_normal((2, 16))
    covers = np.stack([axes[n % 2] for n in range(60)]) + 0.1 * rng.standard_normal((60, 16))
    fitted = Direction.fit(designs, covers)
    fitted.save_pretrained(tmp_path)
    again = Direction.from_pretrained(tmp_path)
    for design, axis in zip(choices, axes, strict=True):
        assert again(design) @ axis / np.linalg.norm(axis) > 0.95
        assert np.linalg.norm(again(design)) == pytest.approx(1, abs=1e-4)
    assert features(choices).shape == (2, WIDTH)
    with pytest.raises(IcgError, match="designs=1"):
        Direction.fit(designs[:1], covers[:1])
    (tmp_path / "direction.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="design="):
        Direction.from_pretrained(tmp_path)
