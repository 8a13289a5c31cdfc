"""The check of a real catalogue, walked on posters drawn here; a folder of real ones is named by EYECATCH_CATALOGUE."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytestmark = pytest.mark.slow


def posters(folder: Path, count: int = 60) -> None:
    """Items with posters of colour, shapes and lettering, and users who rated them."""
    rng = np.random.default_rng(0)
    (folder / "covers").mkdir(parents=True)
    items, ratings = ["item_id,title,cover"], ["userId,movieId,rating,timestamp"]
    for n in range(count):
        y, x = np.mgrid[0:288, 0:192] / 288
        a, b = rng.integers(0, 255, (2, 3))
        image = Image.fromarray((a * (1 - y[..., None]) + b * (0.5 * y + 0.5 * x)[..., None]).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            left, top, w, h = rng.integers(0, 150, 4).tolist()
            draw.ellipse((left, top, left + w, top + h), fill=tuple(rng.integers(0, 255, 3).tolist()))
        draw.text((12, 240), f"THE FILM {n}", fill="white", font_size=26)
        image.save(folder / "covers" / f"{n}.webp", quality=90)
        items.append(f"{n},Film {n},covers/{n}.webp")
        ratings += [f"{user},{n},{rng.integers(1, 6)},{1_600_000_000 + n}" for user in range(8)]
    (folder / "items.csv").write_text("\n".join(items))
    (folder / "ratings.csv").write_text("\n".join(ratings))


def test_no_catalogue_cover_is_displaced(tmp_path: Path) -> None:
    folder = Path(os.environ.get("EYECATCH_CATALOGUE", ""))
    seconds = "180"
    if not os.environ.get("EYECATCH_CATALOGUE"):
        folder, seconds = tmp_path / "posters", "20"
        posters(folder)
    command = [sys.executable, "-m", "tests.real_catalogue", "--rating-column", "rating", "--seconds", seconds]
    tables = ["--items", folder / "items.csv", "--covers", folder, "--events", folder / "ratings.csv"]
    done = subprocess.run(
        [*command, *map(str, tables), "--out", str(tmp_path / "sheet.png")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["displaced_default"] == 0
    assert result["decisions_default"] >= 300
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500
