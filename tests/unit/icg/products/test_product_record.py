"""Products on disk: complete or absent, one training at a time, and an id never leads out of the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from icg.brief import check_id
from icg.errors import BriefError, CheckpointError, IcgError
from icg.products import record
from icg.products.record import RECORD, Record, training

STATED: dict[str, Any] = {
    "id": "blue-mug",
    "kind": "mug",
    "method": "textual-inversion",
    "base": "b" * 64,
    "base_name": "tiny",
    "steps": 3,
    "lr": 0.1,
    "seed": 0,
    "size": (64, 64),
    "rank": 2,
    "vectors": 2,
    "prior": False,
    "pictures": ("0" * 64,),
    "alike": 0.5,
    "seconds": 1.5,
    "memory_mb": 7,
    "created": "2026-01-01",
}


def write(folder: Path, value: float = 0.0, **more: Any) -> Record:
    return record.write(folder, {"vectors": torch.full((2, 4), value)}, **STATED | more)


@given(st.text(max_size=70))
def test_an_id_is_a_plain_folder_name_or_refused(id: str) -> None:
    try:
        taken = check_id(id)
    except BriefError as error:
        refusal = str(error)
    else:
        assert taken == id == id.lower() == Path(id).name
        assert 0 < len(id) <= 64
        return
    assert refusal.startswith("product_id=")
    assert "allowed: 1 to 64 of a-z" in refusal


@pytest.mark.parametrize("id", ["", "..", "a/b", "A", "-a", "a-", "a" * 65, "a b", "ä", "a\n", "a.b", "a@b", None, 7])
def test_invalid_ids_are_refused(id: Any, tmp_path: Path) -> None:
    for call in (
        lambda: record.read(tmp_path, id),
        lambda: record.remove(tmp_path, id),
        lambda: write(tmp_path, id=id),
    ):
        with pytest.raises(BriefError, match="product_id="):
            call()
    assert not [p for p in tmp_path.rglob("*") if p.suffix == ".safetensors"]


def test_stored_products_are_read_and_replaced(tmp_path: Path) -> None:
    first = write(tmp_path)
    assert record.read(tmp_path, "blue-mug") == first
    assert first.key == write(tmp_path).key, "the same weights are the same product"
    second = write(tmp_path, 1.0)
    assert second.key != first.key
    assert record.read(tmp_path, "blue-mug") == second
    assert sorted(p.name for p in (tmp_path / "blue-mug").iterdir()) == sorted([RECORD, second.weights])
    assert record.ids(tmp_path) == ["blue-mug"]
    assert record.ids(tmp_path / "nowhere") == []


def test_weights_without_their_record_are_no_product(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "blue-mug" / RECORD).unlink()
    assert record.read(tmp_path, "blue-mug") is None
    assert record.ids(tmp_path) == []


def test_removed_with_its_unfinished_training(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, id="blue-mug-2")
    (tmp_path / ".blue-mug@0123" / "class").mkdir(parents=True)
    assert record.remove(tmp_path, "blue-mug")
    assert not record.remove(tmp_path, "blue-mug")
    assert record.ids(tmp_path) == ["blue-mug-2"]
    assert not (tmp_path / ".blue-mug@0123").exists()


def test_one_training_at_a_time(tmp_path: Path) -> None:
    write(tmp_path)
    with training(tmp_path, "blue-mug"):
        with pytest.raises(IcgError, match="product_id='blue-mug' is being trained already; allowed: one"):
            record.remove(tmp_path, "blue-mug")
        with training(tmp_path, "red-mug"):
            pass
    with training(tmp_path, "blue-mug"):
        pass
    assert record.read(tmp_path, "blue-mug") is not None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"method": "magic"}, "method='magic'; allowed: textual-inversion"),
        ({"weights": "../../x.safetensors"}, "weights='../../x.safetensors'"),
        ({"id": "red-mug"}, "says id='red-mug'"),
        ({"more": 1}, "product.json is not usable"),
        ({"pictures": None}, "product.json is not usable"),
    ],
)
def test_a_record_with_a_wrong_field_is_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    write(tmp_path)
    path = tmp_path / "blue-mug" / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=named.replace("(", r"\(")):
        record.read(tmp_path, "blue-mug")


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", "{}"])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path)
    (tmp_path / "blue-mug" / RECORD).write_text(text)
    with pytest.raises(CheckpointError, match=r"product_id='blue-mug': product.json is not usable"):
        record.read(tmp_path, "blue-mug")


@pytest.mark.parametrize(
    ("title", "around", "plain"),
    [
        ("a {product} on a beach", ("a ", " on a beach"), "a mug on a beach"),
        ("my Mug and a mug", ("my ", " and a mug"), "my mug and a mug"),
        ("smuggled", ("", ", smuggled"), "mug, smuggled"),
        ("", ("", ""), "mug"),
        ("{product}", ("", ""), "mug"),
    ],
)
def test_where_a_title_names_its_product(tmp_path: Path, title: str, around: tuple[str, str], plain: str) -> None:
    product = write(tmp_path)
    assert product.around(title) == around
    assert product.plain(title) == plain


@given(st.text(max_size=40))
def test_every_title_names_it_once_and_keeps_its_words(title: str) -> None:
    product = Record(weights="0" * 64 + ".safetensors", **STATED)
    before, after = product.around(title)
    assert title.startswith(before)
    assert title.endswith(after.removeprefix(", "))
    assert product.plain(title) == f"{before}mug{after}"
