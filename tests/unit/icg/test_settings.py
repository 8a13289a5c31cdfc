"""eyecatch.json of a checkpoint: what it says is done, and what it may not say is refused by its key."""

import json
from pathlib import Path
from typing import Any

import pytest
from icg.brief import Brief
from icg.draw import ask
from icg.errors import BriefError, CheckpointError
from icg.settings import FILE, DrawingSettings


def written(root: Path, values: object) -> Path:
    (root / FILE).write_text(values if isinstance(values, str) else json.dumps(values))
    return root


def test_a_checkpoint_that_says_nothing_is_drawn_as_the_starter_is(tmp_path: Path) -> None:
    assert DrawingSettings.read(tmp_path) == DrawingSettings()
    plain = ask.brief("mug", settings=DrawingSettings.read(tmp_path))
    assert plain.digest() == Brief("mug").digest()


def test_what_it_says_holds_unless_the_request_says_otherwise(tmp_path: Path) -> None:
    values = {"size": [512, 768], "sizes": [[512, 512], [512, 768]], "steps": 30, "guidance": 5, "negative": "blurry"}
    settings = DrawingSettings.read(written(tmp_path, values | {"dtype": "bfloat16"}))
    assert settings.all_sizes == ((512, 768), (512, 512))
    brief = ask.brief("mug", settings=settings)
    assert (brief.size, brief.steps, brief.guidance, brief.negative) == ((512, 768), 30, 5, "blurry")
    other = ask.brief("mug", settings=settings, size=(512, 512), steps=4, negative="dark")
    assert (other.size, other.steps, other.guidance, other.negative) == ((512, 512), 4, 5, "dark")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ("{", "not JSON"),
        ([], "allowed: one object"),
        ({"colour": "red"}, "colour='red'; allowed keys: dtype, ground_steps, guidance"),
        ({"ground_steps": -1}, "ground_steps=-1; allowed: 0..100"),
        ({"sharpen": 3}, "sharpen=3; allowed: a number in 0..2"),
        ({"sharpen": "much"}, "sharpen='much'; allowed: a number in 0..2"),
        ({"size": 512}, "size=512"),
        ({"size": [512]}, r"size=\[512\]"),
        ({"size": [500, 512]}, "multiples of 16"),
        ({"size": [512.0, 512]}, "multiples of 16"),
        ({"sizes": "512x512"}, "a list of"),
        ({"sizes": [[512, 512], [16, 16]]}, "multiples of 16"),
        ({"steps": 0}, "steps=0"),
        ({"steps": "8"}, "steps='8'"),
        ({"guidance": 30}, "guidance=30"),
        ({"negative": 5}, "negative of"),
        ({"dtype": "int8"}, "dtype='int8'; allowed: float32"),
    ],
)
def test_what_it_may_not_say_is_refused_by_its_key(tmp_path: Path, values: Any, named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        DrawingSettings.read(written(tmp_path, values))


def test_words_to_move_away_from_have_a_limit() -> None:
    with pytest.raises(BriefError, match="negative of"):
        Brief("mug", negative="x" * 513)
    assert Brief("mug", negative="dark").digest() != Brief("mug").digest()
