"""icg judge: the verdict on one picture, as a table and as JSON, and errors of one line."""

import io
import json
from pathlib import Path

import pytest
from icg.cli import app
from icg.reliability.labels import Availability
from PIL import Image
from typer.testing import CliRunner, Result

from tests.unit.icg.reliability.tiny_judge import cut_out, judge, picture

CLASSES = [kind.name.lower() for kind in list(Availability)[:5]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with a judge only, a picture and a cut-out."""
    judge().save_pretrained(tmp_path / "checkpoint" / "reliability")
    picture(1, 64).save(tmp_path / "shown.png")
    cut_out().save(tmp_path / "cut.png")
    return tmp_path


def run(folder: Path, *more: str, image: str = "shown.png", product: str = "cut.png") -> Result:
    arguments = ["judge", str(folder / image), "--product", str(folder / product)]
    return CliRunner().invoke(app, [*arguments, "--checkpoint", str(folder / "checkpoint"), *more])


def refused(result: Result) -> str:
    """The error of one line."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_verdict_as_json(folder: Path) -> None:
    result = run(folder, "--json", "--caption", "a red mug, 9 cm")
    assert result.exit_code == 0, result.output
    output = json.loads(result.stdout)
    (expected,) = judge()([picture(1, 64)], [cut_out()], ["a red mug, 9 cm"])
    assert list(output["probabilities"]) == CLASSES
    assert output["probabilities"] == pytest.approx(expected.probabilities)
    assert (output["available"], output["threshold"]) == (expected.available, 0.5)
    silent = json.loads(run(folder, "--json").stdout)
    assert silent["probabilities"] != output["probabilities"], "the caption counts"


@pytest.mark.parametrize(("threshold", "verdict"), [(0.0, "can be shown"), (1.0, "should not be shown")])
def test_the_verdict_as_a_table(folder: Path, threshold: float, verdict: str) -> None:
    judge(threshold).save_pretrained(folder / "checkpoint" / "reliability")
    result = run(folder)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert f"shown.png {verdict} (threshold {threshold:.2f})" in text
    (expected,) = judge()([picture(1, 64)], [cut_out()], [""])
    for name, value in expected.probabilities.items():
        assert f"{name.replace('_', ' ')} │ {value:.3f}" in text


def test_a_file_name_is_no_markup(folder: Path) -> None:
    (folder / "shown.png").rename(folder / "[red]x.png")
    result = run(folder, image="[red]x.png")
    assert result.exit_code == 0, result.output
    assert "[red]x.png" in result.stdout


def test_jpeg_and_webp_are_pictures_too(folder: Path) -> None:
    for name in ("shown.jpg", "shown.webp"):
        picture(1, 64).save(folder / name)
        assert run(folder, image=name).exit_code == 0
    cut_out().save(folder / "cut.webp", lossless=True)
    outputs = [json.loads(run(folder, "--json", product=name).stdout) for name in ("cut.png", "cut.webp")]
    assert outputs[0] == outputs[1]


def test_a_picture_that_cannot_be_read(folder: Path) -> None:
    (folder / "text.png").write_text("hello")
    whole = (folder / "shown.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    for name in ("text.png", "half.png"):
        line = refused(run(folder, image=name))
        assert line.startswith("error: image=")
        assert "allowed: a " in line
    assert "product=" in refused(run(folder, product="text.png"))
    assert "gone.png" in refused(run(folder, image="gone.png"))


def test_a_cut_out_without_alpha(folder: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(out, "JPEG")
    (folder / "opaque.jpg").write_bytes(out.getvalue())
    line = refused(run(folder, product="opaque.jpg"))
    assert "product has alpha 255..255; allowed: a cut-out, 0 around the product and 255 on it" in line


def test_a_checkpoint_without_a_judge(folder: Path) -> None:
    (folder / "checkpoint" / "reliability").rename(folder / "elsewhere")
    line = refused(run(folder))
    assert "judge=" in line
    assert "no such folder; allowed: a checkpoint folder on this machine" in line
    (folder / "elsewhere").rename(folder / "checkpoint" / "reliability")
    (folder / "checkpoint" / "reliability" / "judge.json").write_text("{}")
    assert "judge.json is not usable" in refused(run(folder))
