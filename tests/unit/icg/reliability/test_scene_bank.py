"""Scenes stored as arrays: equal to streamed ones, read again, refused if damaged; and through an autoencoder."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from icg.data.art import Subject, procedural
from icg.data.sizes import SIZES
from icg.errors import CheckpointError
from icg.reliability.labels import Availability
from icg.reliability.scenes.scene_bank import PLANES, SceneBank
from icg.reliability.scenes.scenes import CONTRAST, SIDE, Scene, Scenes
from icg.reliability.scenes.staging import contrast
from icg.train.reliability.drawn_scenes import AutoencodedScenes, composed, relabelled
from PIL import Image
from torch import Tensor

COUNT, SEED = 12, 5
TITLES = [title for sizes in SIZES.values() for title in sizes]


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [replace(shape, title=title) for title, shape in zip(TITLES, cycle(procedural(12)))]


@pytest.fixture(scope="module")
def streamed(subjects: list[Subject]) -> list[Scene]:
    return list(Scenes(subjects).stream(SEED, COUNT))


@pytest.fixture(scope="module")
def stored(subjects: list[Subject], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SceneBank]:
    folder = tmp_path_factory.mktemp("banks") / "bank"
    return folder, SceneBank.draw(folder, Scenes(subjects), SEED, COUNT)


class Undrawable(Scenes):
    """Fails if a scene is requested."""

    def __init__(self) -> None:
        pass

    def scene(self, seed: int, number: int) -> Scene:
        raise NotImplementedError


def test_a_bank_holds_the_streamed_scenes(stored: tuple[Path, SceneBank], streamed: list[Scene]) -> None:
    _, bank = stored
    assert len(bank) == COUNT
    for row, scene in enumerate(streamed):
        for name in ("picture", "product", "placed"):
            assert np.array_equal(getattr(bank, name)[row], np.asarray(getattr(scene, name)))
        for name in ("depth", "saliency"):
            plane = getattr(bank, name)[row, ..., 0] / 255
            np.testing.assert_allclose(plane, getattr(scene, name), atol=0.5 / 255 + 1e-6)
        assert bank.label[row] == scene.label
        assert bank.severity[row] == pytest.approx(scene.severity)
        assert astuple(bank.rules(row)) == pytest.approx(astuple(scene.geometry), rel=1e-6)
        assert (bank.captions[row], bank.titles[row]) == (scene.caption, scene.title)


def test_drawn_scenes_are_read_back(stored: tuple[Path, SceneBank]) -> None:
    folder, bank = stored
    again = SceneBank.draw(folder, Undrawable(), SEED, COUNT)
    for name in (*PLANES, "label", "severity", "geometry", "captions", "titles"):
        assert np.array_equal(getattr(again, name), getattr(bank, name)), name
    assert isinstance(again.picture, np.memmap), "mapped, not read"


def test_other_scenes_in_the_folder_are_named(stored: tuple[Path, SceneBank]) -> None:
    for seed, count in ((SEED + 1, COUNT), (SEED, COUNT + 1)):
        with pytest.raises(CheckpointError, match=f"{COUNT} of seed {SEED}; allowed: {count} of seed {seed}"):
            SceneBank.draw(stored[0], Undrawable(), seed, count)


def test_drawing_that_was_broken_off_begins_anew(subjects: list[Subject], tmp_path: Path) -> None:
    class Broken(Scenes):
        def scene(self, seed: int, number: int) -> Scene:
            if number == 2:
                raise KeyboardInterrupt
            return super().scene(seed, number)

    with pytest.raises(KeyboardInterrupt):
        SceneBank.draw(tmp_path, Broken(subjects), SEED, 3)
    bank = SceneBank.draw(tmp_path, Scenes(subjects), SEED, 3)
    assert np.array_equal(bank.picture[2], np.asarray(Scenes(subjects).scene(SEED, 2).picture))


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize("name", [*(f"{plane}.npy" for plane in PLANES), "rows.npy", "scenes.json"])
def test_a_missing_or_damaged_file_is_refused(stored: tuple[Path, SceneBank], tmp_path: Path, name: str) -> None:
    folder = copied(stored[0], tmp_path / "bank")
    whole = (folder / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"garbage", b""):
        (folder / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"not readable.*allowed: a drawn bank"):
            SceneBank.read(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"not readable.*{name}"):
        SceneBank.read(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"captions": []}', '{"captions": [], "titles": [], "more": []}', "7"])
def test_words_that_are_no_captions_and_titles_are_refused(
    stored: tuple[Path, SceneBank], tmp_path: Path, text: str
) -> None:
    folder = copied(stored[0], tmp_path / "bank")
    (folder / "scenes.json").write_text(text)
    with pytest.raises(CheckpointError, match="allowed: "):
        SceneBank.read(folder)


def test_files_of_different_lengths_are_refused(stored: tuple[Path, SceneBank], tmp_path: Path) -> None:
    folder = copied(stored[0], tmp_path / "bank")
    np.save(folder / "depth.npy", np.load(folder / "depth.npy")[1:])
    with pytest.raises(CheckpointError, match=rf"files of \[{COUNT - 1}, {COUNT}\] scenes; allowed: all the same"):
        SceneBank.read(folder)
    folder = copied(stored[0], tmp_path / "words")
    words = json.loads((folder / "scenes.json").read_text())
    (folder / "scenes.json").write_text(json.dumps(words | {"titles": words["titles"][1:]}))
    with pytest.raises(CheckpointError, match="allowed: all the same"):
        SceneBank.read(folder)


def test_the_placed_product_is_the_product_where_it_stands(streamed: list[Scene]) -> None:
    available = [s for s in streamed if s.label is Availability.AVAILABLE]
    assert len(available) >= 3
    for scene in available:
        assert (scene.placed.mode, scene.placed.size) == ("RGBA", (SIDE, SIDE))
        alpha = np.asarray(scene.placed.getchannel("A"), np.float32) / 255
        again = scene.picture.copy()
        again.paste(scene.placed, (0, 0), scene.placed)
        change = np.abs(np.asarray(again, np.float32) - np.asarray(scene.picture, np.float32))
        assert change[alpha > 0.99].mean() < 2
        assert change.mean() < 0.5, "except for its rim, which is blended with itself"
        assert (alpha > 0.5).sum() == pytest.approx((scene.saliency > 0.36).sum(), rel=0.35, abs=30)
        moved = scene.picture.copy()
        moved.paste(scene.placed, (25, -25), scene.placed)
        off = np.abs(np.asarray(moved, np.float32) - np.asarray(scene.picture, np.float32)).mean()
        assert off > 4 * change.mean(), "elsewhere it would show"


def test_pixels_added_by_a_defect_are_outside_the_placed_product(subjects: list[Subject]) -> None:
    scenes = Scenes(subjects, available=0.0)
    grown = [s for s in scenes.stream(1, 40) if s.geometry.extra > 0.25]
    assert len(grown) >= 3
    for scene in grown:
        product, placed = (np.asarray(p.getchannel("A")) > 128 for p in (scene.product, scene.placed))
        box = [np.ptp(np.nonzero(mask.any(axis))[0]) + 1 for mask in (product, placed) for axis in (0, 1)]
        assert box[0] / box[1] == pytest.approx(box[2] / box[3], rel=0.15), "of the shape of the true product"


class Shades:
    """An autoencoder of 8 x 8 pixel means, whose decoder adds `tint`."""

    def __init__(self, tint: float = 0.0) -> None:
        self.tint, self.pictures = tint, 0

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        return 3, size[1] // 8, size[0] // 8

    def encode(self, pixels: Tensor) -> Tensor:
        self.pictures += len(pixels)
        return F.avg_pool2d(pixels, 8)

    def decode(self, latents: Tensor) -> Tensor:
        return F.interpolate(latents, scale_factor=8) + self.tint


def bank_of(pictures: list[tuple[int, int, int]], labels: list[Availability]) -> SceneBank:
    """Plain pictures with a grey square product in their middle."""
    count, size = len(pictures), (SIDE, SIDE)
    placed = np.zeros((count, *size, 4), np.uint8)
    placed[:, 40:88, 40:88] = (120, 120, 120, 255)
    ground = np.broadcast_to(np.array(pictures, np.uint8)[:, None, None], (count, *size, 3)).copy()
    flat, words = np.zeros((count, *size, 1), np.uint8), ["a"] * count
    geometry = np.zeros((count, 5), np.float32)
    return SceneBank(
        ground, placed, placed, flat, flat, np.array(labels), np.zeros(count, np.float32), geometry, words, words
    )


A, S, LOST = Availability.AVAILABLE, Availability.SPACE_MISMATCH, Availability.INDISTINCTIVENESS
LIGHT, ALIKE = (230, 230, 230), (125, 125, 125)


@pytest.mark.parametrize(
    ("tint", "expected"),
    [(0.0, [A, LOST, S, S]), (0.6, [A, A, S, S]), (-0.86, [LOST, A, S, S])],
    ids=["as it was", "lighter", "darker"],
)
def test_labels_of_drawn_defects_follow_their_contrast(
    tmp_path: Path, tint: float, expected: list[Availability]
) -> None:
    bank = bank_of([LIGHT, ALIKE, LIGHT, ALIKE], [A, LOST, S, S])
    autoencoded = AutoencodedScenes.draw(tmp_path, bank, Shades(tint), 4)
    assert autoencoded.label.tolist() == expected
    for row in range(4):
        value = contrast(Image.fromarray(autoencoded.picture[row]), bank.placed[row, ..., 3] / 255)
        if expected[row] is not S:
            assert (value < CONTRAST) == (expected[row] is LOST)
        assert (autoencoded.picture[row, 40:88, 40:88] == 120).all(), "the product is pasted unchanged"


def test_latents_are_of_the_scene_and_hints_of_the_product_on_grey(
    tmp_path: Path, stored: tuple[Path, SceneBank]
) -> None:
    _, bank = stored
    family = Shades()
    autoencoded = AutoencodedScenes.draw(tmp_path, bank, family, 10)
    assert autoencoded.latents.shape == autoencoded.hints.shape == (10, 3, SIDE // 8, SIDE // 8)
    assert autoencoded.picture.shape == (10, SIDE, SIDE, 3)
    scene = F.avg_pool2d(composed(bank.picture[:10], bank.placed[:10]), 8)
    np.testing.assert_allclose(autoencoded.latents, scene, atol=2e-3)
    nothing = bank.placed[0, ..., 3].reshape(16, 8, 16, 8).max((1, 3)) == 0
    assert nothing.any()
    np.testing.assert_allclose(autoencoded.hints[0][:, nothing], 127 / 127.5 - 1, atol=2e-3)
    where = bank.placed[:10, ..., 3].reshape(10, 16, 8, 16, 8).min((2, 4)) == 255
    assert where.any()
    hints, latents = (np.moveaxis(rows, 1, -1)[where] for rows in (autoencoded.hints, autoencoded.latents))
    np.testing.assert_allclose(hints, latents, atol=2e-3)


def test_finished_scenes_are_not_drawn_again(tmp_path: Path, stored: tuple[Path, SceneBank]) -> None:
    _, bank = stored
    family = Shades()
    first = AutoencodedScenes.draw(tmp_path, bank, family, COUNT + 100)
    assert len(first.label) == COUNT, "no more than there are"
    assert family.pictures == 2 * COUNT
    again = AutoencodedScenes.draw(tmp_path, bank, family, COUNT)
    assert family.pictures == 2 * COUNT
    for name in ("latents", "hints", "picture", "label"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name


def test_composing_lays_the_product_over_the_picture() -> None:
    under, over = np.full((1, 2, 2, 3), 100, np.uint8), np.full((1, 2, 2, 4), 200, np.uint8)
    over[0, ..., 3] = [[0, 255], [51, 102]]
    autoencoded = (composed(under, over) + 1) * 127.5
    assert autoencoded.shape == (1, 3, 2, 2)
    torch.testing.assert_close(autoencoded[0, 0], torch.tensor([[100.0, 200.0], [120.0, 140.0]]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("label", [one for one in Availability if one not in (A, LOST)])
def test_other_defects_keep_their_labels(label: Availability) -> None:
    bank = bank_of([ALIKE], [label])
    assert relabelled(label, bank.picture[0], bank.placed[0]) == label
