"""RF1M in its published layout: examples, labels, splits, reports, memory."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from icg.data.catalogue import RowReport, Splits
from icg.errors import IcgError
from icg.reliability.labels import Availability, Labels, Layout, available
from icg.reliability.rf1m import RF1M, Part
from PIL import Image

from tests.unit.icg.reliability.archive_files import (
    WRITERS,
    all_of,
    data_set,
    image,
    kinds,
    labels_of,
    noise,
    only,
    write_tar,
    write_zip,
)


@kinds
def test_every_container_gives_the_same_examples(tmp_path: Path, kind: str) -> None:
    examples, report = all_of(data_set(tmp_path, kind, classes=6))
    assert [example.name for example in examples] == ["000_0", "000_1", "001_0", "001_1", "002_0", "002_1"]
    assert [example.label for example in examples] == list(Availability)
    assert [example.available for example in examples] == [True] + [False] * 5
    assert [example.product_id for example in examples] == ["000", "000", "001", "001", "002", "002"]
    assert {example.subset for example in examples} == {1}
    assert examples[5].product is None
    for n, example in enumerate(examples):
        file = image(n, "JPEG")
        assert example.digest == hashlib.sha256(file).hexdigest()
        assert example.picture.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(example.picture), np.asarray(Image.open(io.BytesIO(file))))
        if n < 5:
            assert example.product is not None
            assert example.product.mode == "RGBA"
            np.testing.assert_array_equal(
                np.asarray(example.product), np.asarray(Image.open(io.BytesIO(image(n, mode="RGBA"))))
            )
    assert (report.pictures, report.products, report.cut_outs, report.refused) == (6, 3, 5, {})


def test_the_report_is_json_with_counts_and_reasons(tmp_path: Path) -> None:
    _, report = all_of(data_set(tmp_path))
    stated = json.loads(report.json())
    assert stated["classes"] == {
        "available": 1,
        "indistinctiveness": 1,
        "shape_hallucination": 1,
        "size_mismatch": 1,
        "space_mismatch": 1,
    }
    assert stated["subsets"] == {"1": 5}
    assert sum(stated["splits"].values()) == stated["pictures"] == 5
    assert stated["refused"] == {"a class left out": 1}
    assert stated["shown"][0]["id"] == "images/002_1.jpg"
    assert "UNSUITABLE" in stated["shown"][0]["reason"]


def test_a_pass_counts_anew_each_time(tmp_path: Path) -> None:
    reading = data_set(tmp_path).read()
    first = (len(list(reading)), reading.report())
    assert (len(list(reading)), reading.report()) == first
    next(iter(reading))
    assert reading.report().pictures == 1


def test_cut_outs_may_lie_among_the_pictures(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar.gz", {"cut/1.png": image(1, mode="RGBA"), "1.jpg": image(1, "JPEG")}, "w:gz")
    (tmp_path / "label.txt").write_text("1.jpg 1\n")
    paths = (tmp_path / "a.tar.gz",)
    (example,), report = all_of(RF1M(tmp_path / "label.txt", (Part(1, paths, paths, "^cut/"),)))
    assert example.product is not None
    assert report.refused == {}


def test_a_large_picture_and_its_product_are_scaled_equally(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"1.jpg": image(1, "JPEG", (400, 320))})
    write_zip(tmp_path / "b.zip", {"1.png": image(1, size=(400, 320), mode="RGBA")})
    (tmp_path / "label.txt").write_text("1 1\n")
    part = Part(1, (tmp_path / "a.zip",), (tmp_path / "b.zip",))
    (example,), _ = all_of(RF1M(tmp_path / "label.txt", (part,), side=64))
    assert example.product is not None
    assert example.product.size == example.picture.size == (160, 128)


def test_numbers_are_those_of_the_description_and_captions_and_products_may_be_columns(tmp_path: Path) -> None:
    files = {f"{n}.png": image(n) for n in range(6)}
    rows = "".join(f"{n}.png,{n + 1},sku{n % 2},a kettle, red\n" for n in range(6))
    layout = Layout(("name", "label", "product", "caption"))
    examples, _ = all_of(only(tmp_path, files, rows, layout=layout, classes=6))
    order = ["AVAILABLE", "UNSUITABLE", "SPACE_MISMATCH", "SIZE_MISMATCH", "INDISTINCTIVENESS", "SHAPE_HALLUCINATION"]
    assert [example.label.name for example in examples] == order
    assert {example.caption for example in examples} == {"a kettle, red"}
    assert [example.product_id for example in examples] == ["sku0", "sku1"] * 3
    assert [available(label) for label in Availability] == [True] + [False] * 5


@pytest.mark.parametrize(("first", "wrong"), [(1, "0"), (0, "6")])
def test_numbers_that_begin_elsewhere_stop_at_once(tmp_path: Path, first: int, wrong: str) -> None:
    with pytest.raises(IcgError, match=rf"label='{wrong}' in row 2 .*allowed: from {first} on"):
        labels_of(tmp_path / "label.txt", f"a.png 1\nb.png {wrong}\n", Layout(first=first))
    order = tuple(Availability)
    labels, _ = labels_of(tmp_path / "label.txt", "a.png 0\nb.png 5\n", Layout(first=0, numbers=order))
    assert [labels.of(row)[0] for row in range(2)] == [order[0], order[5]]


@pytest.mark.parametrize(
    "text",
    [
        "a.png\tSpace Mismatch\nb.png\tavailable\n",
        "a.png,space-mismatch\r\nb.png,AVAILABLE\r\n",
        "\ufeffx/y/a.png 3\n\n  \nx\\y\\b.png   1",
    ],
)
def test_separators_line_ends_and_marks_do_not_matter(tmp_path: Path, text: str) -> None:
    labels, tally = labels_of(tmp_path / "label.txt", text)
    rows = [labels.find("a"), labels.find("b")]
    assert [labels.of(row)[0] for row in rows if row is not None] == [Availability(1), Availability(0)]
    assert not tally.refused


def test_bad_rows_are_counted_by_name(tmp_path: Path) -> None:
    bad = (
        b"a.png 1\na.png 1\nb.png 1\nb.png 3\nc.png nine\nd.png 77\ne\n\xff\xfe.png 1\n"
        + b"f" * 70_000
        + b" 1\ng.png 4\n"
    )
    labels, tally = labels_of(tmp_path / "label.txt", bad)
    assert tally.refused == {
        "a doubled row": 1,
        "contradicting rows": 1,
        "an unknown label": 2,
        "a damaged row": 2,
        "a wrong encoding": 1,
    }
    assert len(labels) == 3
    assert [entry["row"] for entry in tally.shown] == [2, 4, 5, 6, 7, 8, 9]
    contradicted, good = labels.find("b"), labels.find("g")
    assert contradicted is not None
    assert labels.of(contradicted)[0] is None
    assert good is not None
    assert labels.of(good)[0] is Availability.SIZE_MISMATCH


def test_other_encodings_come_from_the_layout(tmp_path: Path) -> None:
    text = "水壶_1.png\t1\t红色\n".encode("gb18030")
    layout = Layout(("name", "label", "caption"), encoding="gb18030")
    labels, tally = labels_of(tmp_path / "label.txt", text, layout)
    assert not tally.refused
    assert labels.of(labels.find("水壶_1") or 0) == (Availability.AVAILABLE, "红色", "")
    with pytest.raises(IcgError, match="no row with a label"):
        labels_of(tmp_path / "label.txt", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no row with a label"),
        (b"\r\n\r\n", "no row with a label"),
        (b"only words here\n", "no row with a label"),
        ("a.png 1".encode("utf-16"), "UTF-16"),
        (None, "No such file"),
    ],
)
def test_a_table_without_rows_is_an_error(tmp_path: Path, text: bytes | None, message: str) -> None:
    if text is not None:
        (tmp_path / "label.txt").write_bytes(text)
    with pytest.raises(IcgError, match=message):
        Labels(tmp_path / "label.txt", Layout(), RowReport())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"columns": ("name", "class")}, "columns"),
        ({"columns": ("name", "label", "name")}, "columns"),
        ({"separator": ""}, "separator"),
        ({"depth": 0}, "depth"),
        ({"encoding": "utf-33"}, "utf-33"),
        ({"product": r"\d+"}, "group 1"),
        ({"product": "("}, "group 1"),
    ],
)
def test_a_layout_error_names_the_allowed_values(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(IcgError, match=message):
        labels_of(tmp_path / "label.txt", "a 1\n", Layout(**wrong))


def test_rows_without_pictures_and_pictures_without_rows_are_counted(tmp_path: Path) -> None:
    files = {"1.png": image(1), "2/1.png": image(2), "3.png": image(3), "4.png": image(4)}
    examples, report = all_of(only(tmp_path, files, "1 1\n4 1\n4 3\n5 1\n6 1\n"))
    assert [example.name for example in examples] == ["1"]
    assert report.refused == {
        "contradicting rows": 1,
        "a doubled picture": 1,
        "a picture without a label": 1,
        "a picture with contradicting labels": 1,
        "a row without a picture": 2,
    }
    deeper, _ = all_of(only(tmp_path, files, "1 1\n2/1 1\n", layout=Layout(depth=2)))
    assert [example.name for example in deeper] == ["1", "2/1"]


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (image(1), "a product without alpha"),
        (image(1, "JPEG"), "a product without alpha"),
        (image(1, mode="RGBA")[:60], "a damaged product"),
    ],
)
def test_a_product_without_a_cut_out_is_counted_and_its_picture_kept(tmp_path: Path, file: bytes, kind: str) -> None:
    write_zip(tmp_path / "a.zip", {"1.jpg": image(1, "JPEG")})
    write_zip(tmp_path / "b.zip", {"1.png": file})
    (tmp_path / "label.txt").write_text("1 1\n")
    part = Part(1, (tmp_path / "a.zip",), (tmp_path / "b.zip",))
    (example,), report = all_of(RF1M(tmp_path / "label.txt", (part,)))
    assert example.product is None
    assert report.refused == {kind: 1}
    assert report.cut_outs == 0


def test_splits_are_of_products_and_stay(tmp_path: Path) -> None:
    splits = Splits(0.2, 0.2)
    examples, _ = all_of(data_set(tmp_path / "a", count=120, splits=splits, classes=6))
    of = {example.product_id: example.split for example in examples}
    assert all(example.split == of[example.product_id] for example in examples)
    assert [of[f"{n:03}"] for n in range(12)] == EXPECTED
    parts = [
        all_of(data_set(tmp_path / "a", count=120, splits=splits, classes=6), s)
        for s in ("train", "validation", "test")
    ]
    assert sorted(example.name for examples_of_part, _ in parts for example in examples_of_part) == sorted(
        example.name for example in examples
    )
    assert all(not report.refused for _, report in parts)
    assert all(
        {example.split for example in examples_of_part} == {s}
        for (examples_of_part, _), s in zip(parts, ("train", "validation", "test"), strict=True)
    )
    fewer, _ = all_of(data_set(tmp_path / "b", "p.tar", count=40, splits=splits))
    assert all(of[example.product_id] == example.split for example in fewer)


EXPECTED = [
    "train",
    "train",
    "train",
    "test",
    "validation",
    "train",
    "train",
    "validation",
    "validation",
    "validation",
    "train",
    "train",
]


def test_file_names_without_a_product_are_counted(tmp_path: Path) -> None:
    data = only(
        tmp_path, {"12-a.png": image(1), "b.png": image(2)}, "12-a 1\nb 1\n", layout=Layout(product=r"(\d+)-.*")
    )
    (example,), report = all_of(data)
    assert example.product_id == "12"
    assert report.refused == {"no product in its name": 1}


@pytest.mark.parametrize(("kind", "bytes_a_member"), [("p.zip", 900), ("p.tar.gz", 250)])
def test_memory_does_not_grow_with_the_archive(tmp_path: Path, kind: str, bytes_a_member: int) -> None:
    """One picture at a time: what grows is the table of labels and a zip's own directory, not the pictures' 5,000 bytes each."""
    peaks = {}
    for count in (200, 2_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        WRITERS[kind](folder / kind, {f"{n:05}.png": noise(n % 7) for n in range(count)})
        (folder / "label.txt").write_text("".join(f"{n:05}.png 1\n" for n in range(count)))
        data = RF1M(folder / "label.txt", (Part(2, (folder / kind,)),))
        next(iter(data.read()))  # late imports must not be measured
        alive: list[weakref.ref[Image.Image]] = []  # Pillow's own memory is not traced
        tracemalloc.start()
        reading, most = data.read(), 0
        for example in reading:
            alive = [*(example for example in alive if example() is not None), weakref.ref(example.picture)]
            most = max(most, len(alive))
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (reading.report().pictures, reading.report().refused, most <= 2) == (count, {}, True)
    assert peaks[2_000] - peaks[200] < 1_800 * bytes_a_member
