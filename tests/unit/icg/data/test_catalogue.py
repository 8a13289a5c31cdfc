"""A shop's tables become training examples; damaged rows are counted, and splits do not overlap."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from icg.data.behaviour import CLICK, DWELL, IMPRESSION
from icg.data.catalogue import TEST, TRAIN, VALIDATION, Catalogue, RowReport, Splits
from icg.errors import IcgError
from PIL import Image


def picture(path: Path, size: tuple[int, int] = (40, 30), colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def table(path: Path, *rows: dict[str, object]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def take_all(folder: Path) -> tuple[list[tuple[str, str, str]], RowReport]:
    report = RowReport()
    examples = Catalogue.open(folder).examples(report)
    return [(e.item, e.cover, e.path.name) for e in examples], report


def test_own_pictures_are_covers_and_bad_rows_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "img" / "a.png")
    picture(tmp_path / "img" / "b.png")
    (tmp_path.parent / "outside.png").write_bytes((tmp_path / "img" / "a.png").read_bytes())
    rows = [
        ("k1", "Kettle", "img/a.png", "img/b.png"),
        ("k2", "  ", "img/a.png", ""),
        ("k3", "Lamp", "img/gone.png", ""),
        ("k1", "Kettle again", "img/a.png", ""),
        ("k4", "Sneaky", "../outside.png", ""),
        ("k5", "Remote", "https://example.org/a.png", ""),
        ("k6", "Bare", "", ""),
        ("k7", "x" * 600, "img/a.png", ""),
        ("k8", "Same twice", "img/b.png", "img/b.png"),
    ]
    names = ("product_id", "name", "image", "alternate_image")
    table(tmp_path / "items.csv", *(dict(zip(names, row, strict=True)) for row in rows))
    with (tmp_path / "items.csv").open("a") as file:
        file.write("k9,only two cells\n")
    examples, report = take_all(tmp_path)
    assert examples == [("k1", "k1", "a.png"), ("k1", "k1#2", "b.png"), ("k8", "k8", "b.png")]
    assert report.accepted == 3
    expected = {"no usable title": 2, "no such picture": 3, "no id of its own": 1, "no picture": 1, "a damaged row": 1}
    assert report.refused == expected
    assert "3 with no such picture" in str(report)
    report.write(tmp_path / "left_out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [2, 3, 4, 5, 6, 7, 8, 10]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_yields_the_same_rows(tmp_path: Path, suffix: str) -> None:
    picture(tmp_path / "a.png")
    columns = {"id": [1, 2], "title": ["Ä, b", "c"], "category": ["x", None], "poster": ["a.png", "a.png"]}
    frame = pl.DataFrame(columns)
    path = tmp_path / f"items.{suffix}"
    if suffix in ("csv", "tsv"):
        frame.write_csv(path, separator="," if suffix == "csv" else "\t")
    elif suffix == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    examples = list(Catalogue.open(tmp_path).examples(RowReport()))
    assert [(e.item, e.title, e.category) for e in examples] == [("1", "Ä, b", "x"), ("2", "c", "")]


def test_a_table_of_covers(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table(tmp_path / "items.csv", {"item_id": "k", "title": "Kettle"}, {"item_id": "l", "title": "Lamp"})
    rows = [("c1", "k"), ("c2", "l"), ("c2", "k"), ("c3", "nobody"), ("c4", "k")]
    table(tmp_path / "covers.csv", *({"cover_id": c, "item_id": i, "path": "a.png"} for c, i in rows))
    examples, report = take_all(tmp_path)
    assert examples == [("k", "c1", "a.png"), ("l", "c2", "a.png"), ("k", "c4", "a.png")]
    assert report.refused == {"no id of its own": 1, "an unknown item": 1}


def test_events_become_a_log_of_one_split(tmp_path: Path) -> None:
    splits = Splits(0.2, 0.2)
    users = [next(f"u{n}" for n in range(99) if splits.of("user", f"u{n}") == s) for s in (TRAIN, TEST)]
    names = ("user", "item", "cover_id", "action", "time", "dwell_ms", "decision_id")
    rows = [
        (users[0], "k", "c2", "click", "2024-01-01T00:00:10Z", "", "d"),
        (users[0], "k", "c2", "Impression", "2024-01-01T00:00:00", "7", "d"),
        (users[0], "k", "c1", "impression", "1704067201000", "", "d"),
        (users[0], "l", "", "dwell", "1704067300", "900", ""),
        (users[1], "k", "c1", "click", "1704067300", "", ""),
        (users[0], "k", "c9", "click", "1704067300", "", ""),
        (users[0], "k", "c1", "stare", "1704067300", "", ""),
        (users[0], "k", "c1", "click", "soon", "", ""),
        (users[0], "k", "c1", "dwell", "1704067300", "-5", ""),
    ]
    table(tmp_path / "events.csv", *(dict(zip(names, row, strict=True)) for row in rows))
    table(tmp_path / "covers.csv", {"id": "c1", "item": "k", "path": "a.png"})
    table(tmp_path / "items.csv", {"id": "k", "title": "Kettle"})
    covers = {"c1": (0, "k"), "c2": (1, "k"), "c3": (2, "l")}
    report = RowReport()
    log = Catalogue.open(tmp_path, splits).log(covers, report)
    assert log.action.tolist() == [IMPRESSION, IMPRESSION, CLICK, DWELL]
    assert log.cover.tolist() == [1, 0, 1, 2]
    assert log.dwell_ms.tolist() == [0, 0, 0, 900]
    assert np.diff(log.time).tolist() == [1, 9, 90]
    assert log.shown[0] == log.shown[1] == log.shown[2] != log.shown[3]
    assert report.refused == {"an unusable event": 3, "an event about another cover": 1}
    assert not any(users[0] in str(entry) for entry in report.shown)
    assert len(Catalogue.open(tmp_path, splits).log(covers, RowReport(), VALIDATION)) == 0


ids = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40, unique=True)
shares = st.floats(0, 0.45)


@given(ids, shares, shares, shares)
def test_the_split_of_an_id_depends_on_the_id_alone(
    names: list[str], validation: float, test: float, more: float
) -> None:
    splits = Splits(validation, test)
    where = {name: splits.of("item", name) for name in names}
    assert {name: splits.of("item", name) for name in reversed(names)} == where
    larger = Splits(validation, min(test + more, 0.5))
    assert all(larger.of("item", name) == TEST for name, split in where.items() if split == TEST)


def test_shares_are_kept_and_users_split_apart_from_items() -> None:
    splits = Splits(0.1, 0.2)
    names = [splits.of("item", str(n)) for n in range(4000)]
    assert abs(names.count(TEST) / 4000 - 0.2) < 0.03
    assert abs(names.count(VALIDATION) / 4000 - 0.1) < 0.03
    both = [splits.of("user", str(n)) == TEST == item for n, item in enumerate(names)]
    assert abs(np.mean(both) - 0.04) < 0.02
    with pytest.raises(IcgError, match="allowed: shares"):
        Splits(0.5, 0.5)


def test_an_invalid_catalogue_is_named(tmp_path: Path) -> None:
    with pytest.raises(IcgError, match="no table of items"):
        Catalogue.open(tmp_path)
    table(tmp_path / "items.csv", {"id": "k", "label": "Kettle"})
    with pytest.raises(
        IcgError, match=r"columns.title=none of title, .*; allowed: one of the columns of items.csv: id, label"
    ):
        Catalogue.open(tmp_path)
    table(tmp_path / "items.csv", {"id": "k", "title": "Kettle"})
    with pytest.raises(IcgError, match=r"columns\.image=none of image"):
        Catalogue.open(tmp_path)
    (tmp_path / "items.jsonl").write_text("{}")
    with pytest.raises(IcgError, match="allowed: one of them"):
        Catalogue.open(tmp_path)
