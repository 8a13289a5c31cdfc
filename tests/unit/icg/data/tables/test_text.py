"""Delimited text and JSON as people have them: encodings, delimiters, quotes, headers, compression."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from icg.data.tables import Row, Table, TableOptions
from icg.errors import InputError


def read(path: Path, data: bytes | str, **options: object) -> list[Row]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(Table(path, TableOptions(**options)).rows())  # type: ignore[arg-type]


def titles(rows: list[Row]) -> list[str]:
    return [row.values.get("title", "") for row in rows]


def thousand(fifth: str) -> str:
    return "id,title\n" + "".join(f"{n},{fifth if n == 5 else f'Kettle {n}'}\n" for n in range(1, 1001))


@pytest.mark.parametrize(
    ("fifth", "title"),
    [
        (r'"The \"best\" kettle"', 'The "best" kettle'),
        ('"The ""best"" kettle"', 'The "best" kettle'),
        ('"Weird" kettle', '"Weird" kettle'),
        ('12" pan', '12" pan'),
        ('"12" pan"', '12" pan'),
        (' "Red, green"', "Red, green"),
        ('"One\nKettle"', "One\nKettle"),
    ],
)
def test_quotes_of_other_programs_are_read(tmp_path: Path, fifth: str, title: str) -> None:
    rows = read(tmp_path / "t.csv", thousand(fifth))
    assert len(rows) == 1000
    assert not [row for row in rows if row.problem]
    assert titles(rows)[4] == title
    assert titles(rows)[5] == "Kettle 6"


@pytest.mark.parametrize("fifth", ['"never closed', "a,b", '"Big, red" kettle', r'"C:\dir", x"y'])
def test_one_bad_line_costs_one_row(tmp_path: Path, fifth: str) -> None:
    rows = read(tmp_path / "t.csv", thousand(fifth))
    assert [row.number for row in rows if row.problem] == [5]
    assert (len(rows), titles(rows)[998:]) == (1000, ["Kettle 999", "Kettle 1000"])


def test_a_quote_that_another_row_closes_swallows_no_rows(tmp_path: Path) -> None:
    lines = ["id,title,text", *(f"{n},Kettle {n},plain" for n in range(1, 101))]
    lines[5], lines[60] = '5,Kettle 5,"half open', '60,Kettle 60,its end"'
    rows = read(tmp_path / "t.csv", "\n".join(lines))
    assert (len(rows), [row.number for row in rows if row.problem]) == (100, [5])


def test_two_lines_that_may_be_one_record_or_two_are_refused(tmp_path: Path) -> None:
    rows = read(tmp_path / "t.csv", 'id,title,text\n1,Pan,"12 inch\n2,Pan,14"\n3,Pan,x\n')
    assert [bool(row.problem) for row in rows] == [True, True, False]


def test_text_over_several_lines_is_one_cell(tmp_path: Path) -> None:
    rows = read(tmp_path / "t.csv", 'id,text,title\n1,"one, two\n\nthree ""four""\n",Pan\n2,x,Pot\n')
    assert [row.values for row in rows] == [
        {"id": "1", "text": 'one, two\n\nthree "four"\n', "title": "Pan"},
        {"id": "2", "text": "x", "title": "Pot"},
    ]


def test_a_long_cell_of_another_column_is_read(tmp_path: Path) -> None:
    rows = read(tmp_path / "t.csv", f"id,title,text\n1,Pan,{'x' * 200_000}\n2,Pot,y\n")
    assert titles(rows) == ["Pan", "Pot"]


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("utf-8", "Théière 茶"),
        ("utf-8-sig", "Théière 茶"),
        ("utf-16", "Théière 茶"),
        ("utf-16-le", "Théière 茶"),
        ("utf-32", "Théière 茶"),
        ("cp1252", "Théière"),
        ("cp1252", "Größe 40 € – weiß"),
        ("cp1251", "Чайник красный электрический, объём два литра"),
        ("cp932", "赤いやかんと電気ケトルのセットです"),
    ],
)
def test_the_encoding_is_detected(tmp_path: Path, encoding: str, title: str) -> None:
    text = "id,title\n" + "".join(f'{n},"{title if n % 2 else "Kettle"}"\n' for n in range(200))
    path = tmp_path / "t.csv"
    rows = read(path, text.encode(encoding))
    assert titles(rows)[:3] == ["Kettle", title, "Kettle"]
    assert (Table(path).facts == []) == encoding.startswith("utf-8")


def test_bytes_that_speak_for_no_encoding_are_refused_and_a_named_one_is_used(tmp_path: Path) -> None:
    data = "id,title\n1,Kettle\n2,żółty\n".encode("cp1250")
    assert [bool(row.unfit) for row in read(tmp_path / "t.csv", data)] == [False, True]
    assert titles(read(tmp_path / "t.csv", data, encoding="cp1250"))[1] == "żółty"
    with pytest.raises(InputError, match="encoding='rot13'; allowed: a text encoding"):
        Table(tmp_path / "t.csv", TableOptions(encoding="rot13"))


@pytest.mark.parametrize(
    ("mark", "suffix"), [(";", "csv"), ("\t", "csv"), ("|", "item"), ("::", "dat"), (",", "txt"), ("\t", "tsv")]
)
def test_the_delimiter_is_detected(tmp_path: Path, mark: str, suffix: str) -> None:
    lines = [mark.join(row) for row in (("id", "title", "genres"), ("1", "Red, hot", "a/b"), ("2", "Blue", "c"))]
    rows = read(tmp_path / f"t.{suffix}", "\n".join(lines).replace(", ", " " if mark == "," else ", "))
    assert [row.values["genres"] for row in rows] == ["a/b", "c"]


def test_a_named_delimiter_is_used(tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", "id~title\n1~a,b\n", delimiter="~")[0].values == {"id": "1", "title": "a,b"}
    assert read(tmp_path / "t.csv", "id\ttitle\n1\ta,b\n", delimiter="tab")[0].values == {"id": "1", "title": "a,b"}
    with pytest.raises(InputError, match="delimiter='x'"):
        read(tmp_path / "t.csv", "id\n", delimiter="x")


def test_excels_line_about_the_delimiter_is_no_row(tmp_path: Path) -> None:
    assert [row.values for row in read(tmp_path / "t.csv", "sep=;\r\nid;title\r\n1;Pan\r\n")] == [
        {"id": "1", "title": "Pan"}
    ]


def test_lines_that_end_as_on_old_macs_are_lines(tmp_path: Path) -> None:
    assert titles(read(tmp_path / "t.csv", "id,title\r1,Pan\r2,Pot\r")) == ["Pan", "Pot"]


def test_a_file_without_a_header_gets_names_for_its_first_columns(tmp_path: Path) -> None:
    rows = read(tmp_path / "u.item", "1|Toy|1995|0\n2|Heat|1995|1\n", columns=("id", "title"))
    assert [(row.values["id"], row.values["title"]) for row in rows] == [("1", "Toy"), ("2", "Heat")]
    same = read(tmp_path / "t.csv", "id,title\n1,Toy\n", columns=("id", "title"))
    assert [row.values for row in same] == [{"id": "1", "title": "Toy"}], "a header of the same names is no row"
    with pytest.raises(InputError, match="whose first line is a header"):
        read(tmp_path / "t.csv", "movieId,title,genres\n1,Toy,x\n", columns=("id", "name", "category"))
    with pytest.raises(InputError, match="3 names for 2 cells"):
        read(tmp_path / "t.csv", "1,Toy\n", columns=("a", "b", "c"))


def test_a_missing_header_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "u.item").write_text("1|Toy|1995\n2|Heat|1995\n")
    with pytest.raises(InputError, match=r"1, Toy, 1995. If this is a row and no header, name the columns"):
        Table(tmp_path / "u.item").column(("id",))


def test_columns_are_looked_up_over_the_whole_file(tmp_path: Path) -> None:
    lines = [{"id": n, "title": "t"} for n in range(500)] + [{"id": 500, "title": "t", "image": "a.png"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert Table(tmp_path / "t.jsonl").column(("image",)) == "image"


def test_a_column_of_a_name_that_occurs_twice_is_refused_if_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,title,title,,\n1,a,b,,\n")
    table = Table(tmp_path / "t.csv")
    assert table.column(("id",)) == "id"
    with pytest.raises(InputError, match="which the header has twice"):
        table.column(("title",))


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress], ids=["gz", "bz2", "xz", "zst"]
)
def test_compressed_text_is_read(tmp_path: Path, pack: object) -> None:
    data = pack(b"id,title\n1,Pan\n") + (
        pack(b"2,Pot\n") if pack is not zstandard.compress else zstandard.compress(b"2,Pot\n")
    )  # type: ignore[operator]
    assert titles(read(tmp_path / "t.csv.packed", data)) == ["Pan", "Pot"], "all members"


def test_a_file_that_was_cut_off_says_so_after_its_rows(tmp_path: Path) -> None:
    text = "id,title\n" + "".join(f"{n},{hash(str(n))}\n" for n in range(9000))
    data = gzip.compress(text.encode())
    rows = read(tmp_path / "t.csv.gz", data[: len(data) // 2])
    assert len(rows) > 1000
    assert "t.csv.gz is damaged here and cannot be read any further" in rows[-1].problem


@pytest.mark.parametrize(
    "text", ['[{"id": 1}, {"id": 2}]', '[\n  {\n "id": 1\n },\n {"id": 2}\n]\n', '\ufeff\n {"id": 1}\n\n{"id": 2}']
)
def test_an_array_and_lines_of_json_are_read(tmp_path: Path, text: str) -> None:
    assert [row.values for row in read(tmp_path / "t.json", text)] == [{"id": "1"}, {"id": "2"}]


def test_a_broken_array_says_what_is_lost(tmp_path: Path) -> None:
    rows = read(tmp_path / "t.json", '[{"id": 1}, {"id": }, {"id": 3}]')
    assert [row.values.get("id", "") for row in rows] == ["1", ""]
    assert "nor can anything after it be read" in rows[1].problem


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.text(alphabet='ab",\n\\; é', max_size=8), min_size=2, max_size=2), max_size=12))
def test_every_well_formed_csv_reads_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "title"], *rows])
    read_rows = list(Table(path, TableOptions(delimiter=",", encoding="utf-8")).rows())
    cells = [[row.values["id"], row.values["title"]] for row in read_rows if not row.problem]
    if any(row.problem for row in read_rows):
        assert any("\n" in cell for row in rows for cell in row), "only lines that look like records are refused"
        return
    assert cells == rows
