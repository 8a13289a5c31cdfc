"""Large sprites from small packages made here: drawn at the size asked for, or in their own pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from icg.data.art import STYLES, load_subjects
from icg.data.large_art import large_subjects
from icg.errors import IcgError
from PIL import Image

BODY = '<path d="M20 30h60v40H20z" fill="#c00"/><path d="M40 40h20v20H40z" fill="#fff"/>'
SETS = ("noto", "twemoji", "fluent-emoji-high-contrast")


@pytest.fixture
def art(tmp_path: Path) -> Path:
    """A node_modules folder with a fox in four styles, and an owl in three."""
    emoji = [{"unified": code, "category": "Animals & Nature"} for code in ("1F98A", "1F989")]
    (tmp_path / "emoji-datasource").mkdir()
    (tmp_path / "emoji-datasource" / "emoji.json").write_text(json.dumps(emoji))
    for name in SETS:
        folder = tmp_path / "@iconify-json" / name
        folder.mkdir(parents=True)
        icons = {"icons": {"fox": {"body": BODY}, "owl": {"body": BODY}}, "width": 100, "height": 100}
        (folder / "icons.json").write_text(json.dumps(icons))
        (folder / "chars.json").write_text(json.dumps({"1f98a": "fox", "1f989": "owl"}))
    assets = tmp_path / "@lobehub" / "fluent-emoji-3d" / "assets"
    assets.mkdir(parents=True)
    picture = Image.new("RGBA", (256, 256))
    picture.paste(Image.radial_gradient("L").resize((200, 100)).convert("RGBA"), (30, 80))
    picture.save(assets / "1f98a.webp", lossless=True)
    return tmp_path


def test_nothing_is_scaled(art: Path) -> None:
    (fox,) = large_subjects(art, ["fox"], 210)
    assert list(fox.sprites) == list(STYLES)
    own = np.asarray(Image.radial_gradient("L").resize((200, 100)).convert("RGBA"))
    assert (fox.sprites["3d"][50:150] == own).all()
    assert not fox.sprites["3d"][:50].any()
    flat = fox.sprites["flat"]
    assert flat.shape == (210, 210, 4)
    rows = flat[:, 105, 3]
    assert rows.sum() == 140 * 255, "as wide as asked for, and as high as its shape says"
    assert set(map(tuple, flat[105].tolist())) == {(204, 0, 0, 255), (255, 255, 255, 255)}, "no soft edge"


def test_small_sprites_stay_as_trainings_read_them(art: Path) -> None:
    (fox,) = load_subjects(art)
    assert {sprite.shape for sprite in fox.sprites.values()} == {(128, 128, 4)}


def test_a_subject_that_a_style_lacks_is_named(art: Path) -> None:
    with pytest.raises(IcgError, match=r"ids=\['owl'\]; allowed: .*'fox'"):
        large_subjects(art, ["fox", "owl"])
