"""Pictures that do not show one product are refused before training, with a message that says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from icg import starter
from icg.errors import IcgError
from icg.models.joint import JointEmbedding
from icg.products.pictures import ALIKE, FEWEST, MOST, check_one_product, load, similarity
from icg.train.products.art import THINGS, Thing, pictures
from PIL import Image


@pytest.fixture(scope="module")
def embedding() -> JointEmbedding:
    """The shipped starter's: the threshold was measured with it."""
    return starter.judges(starter.path())[0]


@pytest.fixture
def write_pictures(tmp_path: Path) -> Callable[..., Path]:
    def save(*of: tuple[Thing, int]) -> Path:
        for m, (thing, count) in enumerate(of):
            for n, picture in enumerate(pictures(thing, count)):
                picture.save(tmp_path / f"{m}-{n}.png")
        return tmp_path

    return save


@pytest.mark.parametrize("count", [0, 1, 2, 9, 200])
def test_too_few_or_too_many(tmp_path: Path, count: int) -> None:
    for n in range(count):
        (tmp_path / f"{n}.png").write_bytes(b"not looked at")
    with pytest.raises(IcgError, match=f"pictures={count}; allowed: {FEWEST} to {MOST} pictures of one product"):
        load([tmp_path], 128)


def test_a_folder_or_files_and_other_files_beside_them(write_pictures: Callable[..., Path]) -> None:
    folder = write_pictures((THINGS[0], 3))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"no picture")
    loaded = load([folder], 128)
    assert loaded.names == ("0-0.png", "0-1.png", "0-2.png")
    assert len(set(loaded.digests)) == 3
    assert load(sorted(folder.glob("*.png"))[1:], 128).digests == loaded.digests


def test_pictures_that_cannot_be_read(write_pictures: Callable[..., Path]) -> None:
    folder = write_pictures((THINGS[0], 4))
    whole = (folder / "0-1.png").read_bytes()
    (folder / "0-1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IcgError, match=r"picture '0-1.png'=a damaged PNG picture .*; allowed: a complete picture"):
        load([folder], 128)
    (folder / "0-1.png").write_text("hello")
    with pytest.raises(IcgError, match=r"picture '0-1.png'=5 bytes .*; allowed: a PNG, JPEG"):
        load([folder], 128)
    Image.new("RGB", (400, 4)).save(folder / "0-1.png")
    with pytest.raises(IcgError, match=r"picture '0-1.png'=400x4 pixels; allowed: sides of"):
        load([folder], 128)
    with pytest.raises(IcgError, match=r"picture='gone.png': No such file"):
        load([folder / "0-0.png", folder / "0-2.png", folder / "gone.png"], 128)


def test_the_same_file_twice(write_pictures: Callable[..., Path]) -> None:
    folder = write_pictures((THINGS[0], 3))
    (folder / "copy.png").write_bytes((folder / "0-0.png").read_bytes())
    with pytest.raises(
        IcgError, match=r"picture='copy.png' is the same file as '0-0.png'; allowed: different pictures"
    ):
        load([folder], 128)


@pytest.mark.parametrize("thing", THINGS, ids=lambda t: t.id)
def test_pictures_of_one_product_pass_the_check(
    embedding: JointEmbedding, write_pictures: Callable[..., Path], thing: Thing
) -> None:
    assert check_one_product(embedding, load([write_pictures((thing, 5))], 128)) >= ALIKE


def test_different_products_are_named_and_may_be_forced(
    embedding: JointEmbedding, write_pictures: Callable[..., Path]
) -> None:
    loaded = load([write_pictures((THINGS[0], 4), (THINGS[3], 1))], 128)
    with pytest.raises(
        IcgError, match=r"different products: similarity .* of 1-0.png \(0\.\d\d\); allowed: 0.26 or more .*--force"
    ):
        check_one_product(embedding, loaded)
    assert 0 < check_one_product(embedding, loaded, force=True) < 1


def test_similarity_is_a_cosine(embedding: JointEmbedding) -> None:
    cosines = similarity(embedding, pictures(THINGS[2], 3))
    assert np.allclose(np.diag(cosines), 1, atol=1e-5)
    assert np.allclose(cosines, cosines.T)
    assert (np.abs(cosines) <= 1 + 1e-5).all()
