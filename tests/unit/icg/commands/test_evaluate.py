"""icg evaluate: its errors, and the sheet of an upscaler."""

from __future__ import annotations

from pathlib import Path

from icg.cli import app
from icg.data.upscaling import random_cover
from icg.train.upscaling import recipe
from PIL import Image
from typer.testing import CliRunner


def test_the_sheet_of_an_upscaler_is_a_picture(tmp_path: Path) -> None:
    (tmp_path / "covers").mkdir()
    recipe.save(recipe.build(recipe.UpscalingConfig(dim=12, depths=(1,), heads=2)), tmp_path / "one")
    for n in range(2):
        random_cover(1, n, 80).save(tmp_path / "covers" / f"{n}.png")
    flags = ["--covers", tmp_path / "covers", "--sheet", tmp_path / "sheet.png", "--checkpoint", tmp_path / "one"]
    done = CliRunner().invoke(app, ["evaluate", "upscaling", *map(str, flags)])
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) >= 2 * 288


def test_an_upscaler_is_evaluated_on_pictures_or_covers() -> None:
    done = CliRunner().invoke(app, ["evaluate", "upscaling"])
    assert done.exit_code == 1
    assert done.stderr == "error: nothing to evaluate; allowed: --pictures, or --covers and --sheet\n"


def test_a_missing_checkpoint_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["evaluate", "reliability", "--art", str(tmp_path), "--checkpoint", str(tmp_path / "nowhere")]
    )
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
