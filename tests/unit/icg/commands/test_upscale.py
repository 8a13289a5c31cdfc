"""icg upscale: a larger file, which keeps a cover's provenance, and errors of one line."""

from pathlib import Path

import pytest
from icg.cli import app
from icg.provenance import read, to_png
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner, Result

from tests.unit.generate.test_upscaling import PROVENANCE, checkpoint, small


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["upscale", *map(str, arguments)])


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def cover(tmp_path: Path) -> Path:
    (tmp_path / "cover.png").write_bytes(to_png(small(), PROVENANCE))
    return tmp_path / "cover.png"


def test_the_default_factor_is_four_and_the_metadata_names_the_upscaler(cover: Path) -> None:
    out = cover.with_name("large.png")
    result = run(cover, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{out}: 32x32 -> 128x128"
    assert size(out) == (128, 128)
    assert read(out.read_bytes()) == {
        "ai_generated": True,
        **PROVENANCE,
        "upscaled": "4x by eyecatch-starter-0.1/upscaler",
    }


def test_a_factor_a_checkpoint_and_other_files(cover: Path) -> None:
    small().save(cover.with_name("photo.jpg"))
    checkpoint(cover.parent / "double")
    for name in ("large.jpg", "large.webp", "large.PNG"):
        out = cover.with_name(name)
        result = run(cover.with_name("photo.jpg"), "--out", out, "--checkpoint", cover.parent / "double", "--factor", 2)
        assert result.exit_code == 0, result.output
        assert size(out) == (64, 64)
        assert read(out.read_bytes()) == {}, "a picture without provenance gets none"


def test_invalid_requests_are_refused(cover: Path) -> None:
    out = cover.with_name("large.png")
    assert "factor=3; allowed: 2 or 4" in refused(run(cover, "--out", out, "--factor", 3))
    assert "out='large.tiff'; allowed: a file ending in .png" in refused(
        run(cover, "--out", cover.with_name("large.tiff"))
    )
    assert "gone.png" in refused(run(cover.with_name("gone.png"), "--out", out))
    cover.with_name("text.png").write_text("hello")
    assert "allowed: a PNG, JPEG, WEBP, GIF, BMP" in refused(run(cover.with_name("text.png"), "--out", out))
    Image.new("RGBA", (32, 32)).save(cover.with_name("clear.png"))
    assert "transparent pixels" in refused(run(cover.with_name("clear.png"), "--out", out))
    assert "no such folder" in refused(run(cover, "--out", out, "--checkpoint", cover.parent / "gone"))
    info = PngInfo()
    info.add_text("eyecatch", "{")
    small().save(cover.with_name("odd.png"), pnginfo=info)
    assert "error: " in refused(run(cover.with_name("odd.png"), "--out", out))
    assert not out.exists()
