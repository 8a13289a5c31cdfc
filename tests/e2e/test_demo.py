"""eyecatch demo from nothing to its sheet, as `make demo` runs it."""

from pathlib import Path

import pytest
from eyecatch.commands.demo import ITEMS, USERS
from PIL import Image

from tests.e2e.conftest import run


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_draws_its_sheet_and_keeps_its_data(tmp_path: Path) -> None:
    out, data = tmp_path / "demo.png", tmp_path / "data"
    done = run("demo", "--out", str(out), "--keep", str(data))
    assert f"of {len(USERS) * len(ITEMS)} made covers win" in done.stdout
    assert "No cover was drawn" not in done.stdout
    with Image.open(out) as sheet:
        assert 1000 < sheet.width <= 2400
        colours = sheet.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 10_000, "pictures, not only words"
    assert any(data.iterdir())
