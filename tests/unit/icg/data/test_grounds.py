"""Grounds are deterministic, the same picture at every size, and palettes and backdrops can be told apart."""

from __future__ import annotations

import numpy as np
import pytest
from icg.data.grounds import BACKDROPS, PALETTES, ground
from icg.design.palette import to_lab
from icg.errors import IcgError
from PIL import Image

APART = 15.0
"""Least distance of two palettes' mean colours in CIE L*a*b*; about 2 is just noticeable."""


def pixels(palette: str, backdrop: str, seed: int, side: int) -> np.ndarray:
    return np.asarray(ground(palette, backdrop, seed, side), np.float32)


@pytest.fixture(scope="module")
def means() -> np.ndarray:
    """Mean colour in L*a*b* of every palette and backdrop over three seeds, (P, B, 3)."""
    rows = [[[pixels(p, b, n, 32).mean((0, 1)) for n in range(3)] for b in BACKDROPS] for p in PALETTES]
    return to_lab(np.mean(rows, 2))


@pytest.mark.parametrize("backdrop", BACKDROPS)
def test_a_ground_depends_on_its_arguments_alone(backdrop: str) -> None:
    first, again = (ground("ocean", backdrop, 3, 64) for _ in range(2))
    assert first.mode == "RGB"
    assert first.size == (64, 64)
    assert first.tobytes() == again.tobytes()
    assert np.abs(pixels("ocean", backdrop, 3, 64) - pixels("ocean", backdrop, 4, 64)).mean() > 1


@pytest.mark.parametrize("backdrop", BACKDROPS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_ground_is_the_same_picture_at_every_size(backdrop: str, seed: int) -> None:
    small = pixels("teal", backdrop, seed, 128)
    other = pixels("teal", backdrop, seed + 10, 128)
    for side in (256, 512):
        reduced = ground("teal", backdrop, seed, side).resize((128, 128), Image.Resampling.BOX)
        error = np.abs(np.asarray(reduced, np.float32) - small).mean()
        assert error < 2.5  # of which the grain makes 1.2
        assert error < 0.5 * np.abs(other - small).mean()


def test_palettes_are_apart_on_every_backdrop(means: np.ndarray) -> None:
    pairs = np.triu_indices(len(PALETTES), 1)
    for n, backdrop in enumerate(BACKDROPS):
        distance = np.linalg.norm(means[pairs[0], n] - means[pairs[1], n], axis=-1)
        assert distance.min() > APART, backdrop


def test_a_palette_keeps_its_colour_on_every_backdrop(means: np.ndarray) -> None:
    centres = means.mean(1)
    nearest = np.linalg.norm(means[:, :, None] - centres, axis=-1).argmin(-1)
    assert (nearest == np.arange(len(PALETTES))[:, None]).all()


def test_backdrops_are_apart() -> None:
    """The nearest mean of seeds, in brightness spectra that do not see the place of a pattern, names most unseen seeds."""

    def features(backdrop: str, seed: int) -> np.ndarray:
        grey = pixels("mono", backdrop, seed, 64).mean(-1)
        spectrum = np.log1p(np.abs(np.fft.rfft2(grey - grey.mean())))
        coarse = grey.reshape(8, 8, 8, 8)
        rows = (coarse.mean((1, 3)), coarse.std((1, 3)))
        return np.concatenate([spectrum[:16, :16].ravel(), *(4 * np.log1p(r).ravel() for r in rows)])

    centres = np.stack([np.mean([features(b, n) for n in range(12)], 0) for b in BACKDROPS])
    unseen = np.stack([[features(b, n) for n in range(12, 18)] for b in BACKDROPS])
    named = np.linalg.norm(unseen[:, :, None] - centres, axis=-1).argmin(-1) == np.arange(len(BACKDROPS))[:, None]
    assert named.mean() > 0.9, dict(zip(BACKDROPS, named.mean(1), strict=True))


@pytest.mark.parametrize("backdrop", BACKDROPS)
def test_the_middle_is_calm(backdrop: str) -> None:
    """Behind a subject neighbouring pixels differ by a twelfth of the range at most, root mean square."""
    for seed in range(3):
        middle = pixels("terracotta", backdrop, seed, 128)[32:96, 32:96].mean(-1)
        assert np.sqrt(np.square(np.diff(middle, axis=1)).mean()) < 255 / 12


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("mud", "dots", 0, 128), "palette='mud'; allowed: sunset"),
        (("ocean", "fog", 0, 128), "backdrop='fog'; allowed: gradient"),
        (("ocean", "dots", -1, 128), "seed=-1; allowed: 0 or more"),
        (("ocean", "dots", 0, 8), "side=8; allowed: 16..2048"),
        (("ocean", "dots", 0, 4096), "side=4096; allowed: 16..2048"),
    ],
)
def test_what_cannot_be_drawn_is_named(arguments: tuple[str, str, int, int], field: str) -> None:
    with pytest.raises(IcgError, match=field):
        ground(*arguments)
