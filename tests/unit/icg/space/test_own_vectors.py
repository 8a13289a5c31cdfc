"""Covers' own vectors beside a space: how well they place covers that nobody clicked yet, next to the pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from icg.data.catalogue import RowReport
from icg.space import folder as files
from icg.space.run import run
from icg.space.source import read

from tests.unit.icg.space import shop
from tests.unit.icg.space.conftest import Fit


def with_vectors(folder: Path, holes: int = 0) -> Path:
    """A shop whose covers have a vector that knows the hue, with noise; the first `holes` have none."""
    rng = np.random.default_rng(0)
    with (folder / "items.csv").open() as file:
        items = list(csv.DictReader(file))
    rows = []
    for n, item in enumerate(items):
        vector = np.eye(4)[shop.HUES.index(item["category"])] + 0.2 * rng.standard_normal(4)
        rows.append((f"c{n}", item["item_id"], item["image"], "|".join(map(str, vector)) if n >= holes else ""))
    shop.table(folder / "covers.csv", ("cover_id", "item_id", "image", "embedding"), rows)
    return folder


def test_vectors_are_read_if_every_cover_has_one(tmp_path: Path) -> None:
    whole = read(with_vectors(shop.write(tmp_path / "a", items=8, users=0)), RowReport())
    assert whole.vectors is not None
    assert whole.vectors.shape == (8, 4)
    assert read(with_vectors(shop.write(tmp_path / "b", items=8, users=0), holes=1), RowReport()).vectors is None
    assert read(shop.write(tmp_path / "c", items=8, users=0), RowReport()).vectors is None


def test_the_report_says_how_well_vectors_place_covers(tmp_path: Path, fit: Fit) -> None:
    fitted, table = run(with_vectors(shop.write(tmp_path / "shop")), tmp_path / "out", fit.encoder, seeds=1)
    own, other = (float(np.mean(fitted.figures[name])) for name in ("vectors_own", "vectors_other"))
    assert own > 0.75
    assert other < 0.6
    assert any("own vectors" in label for label, _, _ in table)
    assert not any("own vectors" in label for label, _, _ in files.table(fit.fitted)), "none in a shop without"
