"""icg evaluate aesthetic: the share of pictures above damaged copies of themselves, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from icg.brief import Brief
from icg.cli import app
from icg.data.art import procedural
from icg.data.compose import Look, compose
from icg.errors import InputError
from icg.evaluate.aesthetic import CONTROL, KINDS, WHOLE, last_line, measure
from icg.starter import rewards
from PIL import Image
from typer.testing import CliRunner


class Brightest:
    """A reward that sees light alone."""

    name, range = "aesthetic", (0.0, 1.0)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        return np.array([np.asarray(image).mean() / 255 for image in images], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six composed covers in two folders, and a file that is no picture."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "more").mkdir()
    for n, subject in enumerate(procedural(6)):
        cover = compose(subject.sprites["painted"], Look("painted", "ocean", "hills", "close"), n, 256)
        cover.save(root / ("more" if n % 2 else ".") / f"{n}.png")
    (root / "broken.png").write_bytes(b"nothing")
    return root


def test_a_reward_is_judged_by_what_it_sees(folder: Path) -> None:
    table, refused = measure(Brightest(), folder, 2, 6)
    assert refused == 1
    assert set(table) == {WHOLE, *KINDS}
    assert table["dark"]["aesthetic"] == [1.0, 1.0]
    assert table["bright"]["aesthetic"] == [0.0, 0.0]
    assert table["blur"]["sharpness"] == [1.0, 1.0]
    assert set(table["blur"]) == {"aesthetic", "sharpness", "contrast", CONTROL}
    line = last_line(table, "aesthetic")
    assert (line["worst"], line["bright"], line["dark"]) == (0.0, 0.0, 1.0)


def test_the_shipped_reward_sees_damage(folder: Path) -> None:
    table, _ = measure(rewards.load("aesthetic"), folder, 1, 6)
    assert np.mean([row["aesthetic"] for kind, row in table.items() if kind != WHOLE]) > 0.85


def test_the_last_line_is_json(folder: Path) -> None:
    result = CliRunner().invoke(
        app, ["evaluate", "aesthetic", "--pictures", str(folder), "--seeds", "1", "--count", "4"]
    )
    assert result.exit_code == 0, result.output
    assert {"pairs", "worst", "worst_kind", "pasted", "blur"} <= set(json.loads(result.stdout.splitlines()[-1]))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pictures=0 in .* that can be decoded; allowed: at least two"):
        measure(Brightest(), tmp_path, 1, 4)
