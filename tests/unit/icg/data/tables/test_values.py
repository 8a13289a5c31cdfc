"""Values of typed tables as text: what is missing, what has no text, parts of a folder, damage."""

from __future__ import annotations

import sys
import zoneinfo
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from icg.data.tables import CellProblem, Row, Table
from icg.data.tables.cells import cell
from icg.errors import InputError


def read(path: Path, frame: pl.DataFrame) -> list[Row]:
    frame.write_parquet(path)
    return list(Table(path).rows())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (Decimal("NaN"), ""),
        (12.0, "12"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (2**70, str(2**70)),
        (b"Th\xc3\xa9", "Thé"),
        (["a", None, "b"], "a|b"),
        ([0.5, None, float("nan")], "0.5|nan|nan"),
        ([], ""),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
    ],
)
def test_values_with_a_text(value: object, text: str) -> None:
    assert cell(value) == text
    assert not isinstance(cell(value), CellProblem)


@pytest.mark.parametrize(
    "value", [{"en": "a"}, True, b"\xff\xfe", float("inf"), [{"a": 1}], [[1]], [True], "\ud800", object()]
)
def test_values_without_a_text(value: object) -> None:
    text = cell(value)
    assert isinstance(text, CellProblem)
    assert "allowed: " in text


def test_text_columns_of_bytes_are_text(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": [b"k1", b"k2"], "title": [b"Red kettle", "Théière".encode()]})
    assert [row.values for row in read(tmp_path / "t.parquet", frame)] == [
        {"id": "k1", "title": "Red kettle"},
        {"id": "k2", "title": "Théière"},
    ]


def test_an_object_is_only_refused_if_its_column_is_used(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "t.parquet", pl.DataFrame({"id": ["1"], "title": [{"en": "Red", "de": "Rot"}]}))
    assert row.text("id") == "1"
    with pytest.raises(InputError, match="title=an object; allowed: text, a number or a time"):
        row.text("title")


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_times_are_instants_without_a_time_zone_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, zone: str | None
) -> None:
    times = pl.Series("time", [1_700_000_000, None]).cast(pl.Int64)
    times = (times * {"ms": 1000, "us": 10**6, "ns": 10**9}[unit]).cast(pl.Datetime(unit, zone))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath([])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        rows = read(tmp_path / "t.parquet", pl.DataFrame([times]))
    finally:
        zoneinfo.reset_tzpath()
    moment = datetime.fromisoformat(rows[0].values["time"])
    assert (moment if zone else moment.replace(tzinfo=UTC)).timestamp() == 1_700_000_000
    assert rows[1].values["time"] == ""


def spark(folder: Path, *frames: pl.DataFrame) -> Path:
    folder.mkdir(parents=True)
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000.crc").write_bytes(b"crc")
    for n, frame in enumerate(frames):
        frame.write_parquet(folder / f"part-{n:05}-x.snappy.parquet")
    return folder


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    folder = spark(tmp_path / "t.parquet", pl.DataFrame({"id": ["a"]}), pl.DataFrame({"id": ["b"], "image": ["b.png"]}))
    table = Table(folder)
    rows = list(table.rows())
    assert table.columns == ("id", "image")
    assert [(row.number, row.text("id"), row.text("image")) for row in rows] == [(1, "a", ""), (2, "b", "b.png")]
    assert table.fraction == 1


def test_the_names_of_its_folders_are_columns(tmp_path: Path) -> None:
    for value, id in (("kitchen%20sink", "a"), ("__HIVE_DEFAULT_PARTITION__", "b")):
        spark(tmp_path / "t" / f"category={value}", pl.DataFrame({"id": [id]}))
    assert {row.text("id"): row.text("category") for row in Table(tmp_path / "t").rows()} == {
        "a": "kitchen sink",
        "b": "",
    }


def test_folders_that_are_no_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder without parts"):
        Table(tmp_path / "empty")
    (tmp_path / "ml").mkdir()
    (tmp_path / "ml" / "movies.csv").write_text("movieId,title\n1,a\n")
    (tmp_path / "ml" / "ratings.csv").write_text("userId,movieId,rating\n1,1,5\n")
    with pytest.raises(InputError, match="different headers"):
        Table(tmp_path / "ml")
    (tmp_path / "ml" / "README.txt").write_text("read me")
    with pytest.raises(InputError, match="a folder of different files"):
        Table(tmp_path / "ml")
    (spark(tmp_path / "delta", pl.DataFrame({"id": ["gone"]})) / "_delta_log").mkdir()
    with pytest.raises(InputError, match="a Delta Lake table"):
        Table(tmp_path / "delta")


def test_rows_around_a_damaged_page_are_read_and_the_others_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pl.DataFrame({"id": [f"i{n}" for n in range(20_000)], "title": [f"Kettle {n}" for n in range(20_000)]})
    frame.write_parquet(path, row_group_size=5000, compression="uncompressed", use_pyarrow=False)
    data = bytearray(path.read_bytes())
    middle = data.index(b"Kettle 12000")
    start = data.rindex(b"Kettle 10000", 0, middle) - 400
    data[start : start + 300] = b"\xff" * 300
    path.write_bytes(data)
    table = Table(path)
    rows = list(table.rows())
    unread = sum(row.unread for row in rows)
    assert len([row for row in rows if not row.problem]) + unread == table.count == 20_000
    assert 0 < unread <= 10_000
