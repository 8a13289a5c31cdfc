"""The reader of tables: formats, damage, columns and progress."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from icg.data.tables import Table
from icg.errors import InputError


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_text(tmp_path: Path, suffix: str) -> None:
    frame, path = (
        pl.DataFrame({"id": [1, 2], "title": ["Ä, b", "c"], "category": ["x", None]}),
        tmp_path / f"t.{suffix}",
    )
    if suffix in ("csv", "tsv"):
        frame.write_csv(path, separator="," if suffix == "csv" else "\t")
    elif suffix == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    rows = list(Table(path).rows())
    assert [row.values for row in rows] == [
        {"id": "1", "title": "Ä, b", "category": "x"},
        {"id": "2", "title": "c", "category": ""},
    ]
    assert [row.number for row in rows] == [1, 2]


@pytest.mark.parametrize(
    ("name", "data", "allowed"),
    [
        ("absent.csv", None, "no such file"),
        ("empty.csv", b"", "columns with a name"),
        ("empty.jsonl", b"", "columns with a name"),
        ("not.parquet", b"hello", "a Parquet file"),
        ("half.parquet", b"PAR1 and no end", "a Parquet file"),
        ("book.csv", b"PK\x03\x04....", "an Excel workbook"),
        ("model.csv", b"\x80\x04\x95\x00", "a pickle"),
        ("photo.csv", b"\x89PNG\r\n", "a picture"),
        ("bytes.csv", b"id,title\n1,\x00\x01\x02", "other bytes than text"),
        ("cut.csv.gz", b"\x1f\x8b\x08\x00", "a complete file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, data: bytes | None, allowed: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=allowed):
        Table(tmp_path / name)


def test_a_row_of_other_bytes_keeps_its_other_cells_and_the_next_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("id,title\r\n1,ä\r\n\r\n2,".encode("utf-8-sig") + b"\xff\xfe\r\n3,c\r\n4\r\n")
    table = Table(tmp_path / "t.csv")
    rows = list(table.rows())
    assert [row.values for row in rows] == [{"id": "1", "title": "ä"}, {"id": "2"}, {"id": "3", "title": "c"}, {}]
    assert [row.problem for row in rows if row.problem] == ["1 cells; allowed: 2, as the header has"]
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert rows[1].text("id") == "2"
    with pytest.raises(InputError, match=r"title=.*allowed: text in the encoding of the table"):
        rows[1].text("title")
    assert table.facts == ["text is utf-8 (with bytes that are not UTF-8; --encoding names another)"]


def test_lines_that_are_no_json_objects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"id": 1}\n[1]\n{broken\n{"id": "\xff"}\n{"id": 2.0, "b": ["x", "y"]}\n')
    table = Table(tmp_path / "t.jsonl")
    rows = list(table.rows())
    assert table.columns == ("id", "b")
    assert [bool(row.problem or row.unfit) for row in rows] == [False, True, True, True, False]
    assert rows[-1].values == {"id": "2", "b": "x|y"}


def test_columns_are_named_or_found_by_common_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Key,label\n")
    table = Table(tmp_path / "t.csv")
    assert table.column(("id", "key")) == "Key"
    assert table.column(("id",), required=False) == ""
    assert table.column(("id",), chosen="label") == "label"
    with pytest.raises(InputError, match=r"columns.title='tittle'; allowed: one of the columns of t.csv: Key, label"):
        table.column(("title",), False, "title", "tittle")
    with pytest.raises(InputError, match=r"columns.id=none of id, item_id; allowed: one of"):
        table.column(("id", "item_id"))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_fraction_read_rises_to_one(tmp_path: Path, suffix: str) -> None:
    frame, path = pl.DataFrame({"id": range(5000), "title": ["long " * 9] * 5000}), tmp_path / f"t.{suffix}"
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[suffix](path)
    table = Table(path)
    fractions = [table.fraction for _ in table.batches(500)]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 0.5 < fractions[-1] <= 1
    assert table.fraction == 1


def test_the_reader_imports_no_torch_and_no_polars() -> None:
    code = "import sys, icg.data.tables, icg.pictures; assert not {'torch', 'polars'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
