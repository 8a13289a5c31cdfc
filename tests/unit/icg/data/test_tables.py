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
        ("items.txt", b"id,title\n", "a name ending in"),
        ("absent.csv", None, "a file that exists"),
        ("empty.csv", b"", "columns with a name"),
        ("empty.jsonl", b"", "columns with a name"),
        ("twice.csv", b"id,id\n", "each once"),
        ("latin.csv", "id,t\u00eftle\n".encode("latin-1"), "UTF-8"),
        ("quote.csv", b'id,"ti"tle\n', "comma-separated text"),
        ("not.parquet", b"hello", "a Parquet file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, data: bytes | None, allowed: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=allowed):
        Table(tmp_path / name)


def test_a_row_that_is_not_utf8_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfid,title\r\n1,a\r\n\r\n2,\xff\r\n3,c\r\n4\r\n")
    rows = list(Table(tmp_path / "t.csv").rows())
    assert [row.values for row in rows] == [{"id": "1", "title": "a"}, {}, {"id": "3", "title": "c"}, {}]
    assert [row.problem for row in rows if row.problem] == ["not UTF-8 text", "1 cells; allowed: 2, as the header has"]
    assert [row.number for row in rows] == [1, 2, 3, 4]


def test_after_a_broken_quote_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'id,title\n1,a\n2,"b"c\n3,c\n')
    rows = list(Table(tmp_path / "t.csv").rows())
    assert [row.number for row in rows] == [1, 2]
    assert "nor is anything after it" in rows[1].problem


def test_lines_that_are_no_json_objects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"id": 1}\n[1]\n{broken\n{"id": "\xff"}\n{"id": 2.0, "b": ["x", "y"]}\n')
    table = Table(tmp_path / "t.jsonl")
    rows = list(table.rows())
    assert table.columns == ("id", "b")
    assert [bool(row.problem) for row in rows] == [False, True, True, True, False]
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
