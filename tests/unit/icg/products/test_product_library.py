"""Products by id: as in the folder now, a few in memory, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, CheckpointError
from icg.products import record
from icg.products.library import VECTORS, Library, base_of
from icg.products.record import DREAMBOOTH, TEXTUAL_INVERSION

from tests.unit.icg.products.random_products import store_product


@pytest.fixture(scope="module")
def pipeline(covers: Callable[[str], CoverPipeline]) -> CoverPipeline:
    return covers("sana")


def test_found_again_and_read_anew_when_it_changes(tmp_path: Path, pipeline: CoverPipeline) -> None:
    library = Library(tmp_path)
    first = store_product(tmp_path, pipeline, "mug", TEXTUAL_INVERSION)
    product = library.get("mug")
    assert product.record == first
    assert product is library.get("mug")
    again = store_product(tmp_path, pipeline, "mug", TEXTUAL_INVERSION, seed=1)
    assert library.get("mug").record == again
    assert not torch.equal(library.get("mug").tensors[VECTORS], product.tensors[VECTORS])
    record.remove(tmp_path, "mug")
    with pytest.raises(BriefError, match="product_id='mug'; allowed: none, no product is trained here"):
        library.get("mug")


def test_only_so_many_in_memory(tmp_path: Path, pipeline: CoverPipeline) -> None:
    library = Library(tmp_path, keep=2)
    for id in "abc":
        store_product(tmp_path, pipeline, id, TEXTUAL_INVERSION)
    first = {id: library.get(id) for id in "abc"}
    assert library.get("c") is first["c"]
    assert library.get("b") is first["b"]
    assert library.get("a") is not first["a"], "the least recently used one was dropped"
    assert library.get("c") is not first["c"]
    assert library.ids() == ["a", "b", "c"]


def test_the_error_of_an_unknown_product_lists_the_products(tmp_path: Path, pipeline: CoverPipeline) -> None:
    for n in range(12):
        store_product(tmp_path, pipeline, f"p{n:02}", TEXTUAL_INVERSION)
    with pytest.raises(BriefError, match=r"product_id='x'; allowed: p00, p01, .*p09 and 2 more"):
        Library(tmp_path).get("x")
    with pytest.raises(BriefError, match=r"product_id='\.\./x'"):
        Library(tmp_path).get("../x")


def test_broken_weights_are_named(tmp_path: Path, pipeline: CoverPipeline) -> None:
    product = store_product(tmp_path, pipeline, "mug", DREAMBOOTH)
    path = tmp_path / "mug" / product.weights
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"product_id='mug': .* is not readable .*; allowed: train it again"):
        Library(tmp_path).get("mug")
    path.unlink()
    with pytest.raises(CheckpointError, match="is not readable"):
        Library(tmp_path).get("mug")
    store_product(
        tmp_path, pipeline, "cup", TEXTUAL_INVERSION, tensors={"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}
    )
    with pytest.raises(CheckpointError, match=r"\['a', 'b'\]; allowed: weights of textual-inversion"):
        Library(tmp_path).get("cup")


def test_readers_during_a_write_see_whole_products(tmp_path: Path, pipeline: CoverPipeline) -> None:
    library, wrong, done = Library(tmp_path), list[str](), threading.Event()
    products = [store_product(tmp_path, pipeline, "mug", TEXTUAL_INVERSION, seed=n) for n in range(6)]
    tensors = {r.key: Library(tmp_path).get("mug").tensors for r in products[-1:]}

    def read() -> None:
        while not done.is_set():
            product = library.get("mug")
            known = tensors.setdefault(product.key, product.tensors)
            if not torch.equal(known[VECTORS], product.tensors[VECTORS]):
                wrong.append(product.key)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(40):
        store_product(tmp_path, pipeline, "mug", TEXTUAL_INVERSION, seed=n % 6)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert len(tensors) > 1


def test_checkpoints_have_different_versions_in_any_precision(covers: Callable[[str], CoverPipeline]) -> None:
    one, other = covers("sana"), covers("sana")
    assert one.base == other.base
    other.family.denoiser.to(torch.bfloat16)
    assert base_of(other.family.denoiser) == base_of(one.family.denoiser)
    with torch.no_grad():
        other.adapter.nothing += 1
    assert base_of(other.adapter) != base_of(one.adapter)
    assert covers("sd15").base != one.base
