"""A checkpoint states what it draws well; other pictures are outside."""

from pathlib import Path

import eyecatch
import numpy as np
import pytest
from icg import starter
from icg.errors import CheckpointError
from icg.gates.domain import Domain, domain
from PIL import Image
from safetensors.numpy import save_file

SAMPLE = Path(eyecatch.__file__).parent / "sample"


def photograph(seed: int) -> Image.Image:
    """Noise of all scales, as photographs and posters have it."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 255, (192 // n, 128 // n, 3), np.uint8)).resize((128, 192)), np.float32
        )
        for n in (1, 2, 4, 8, 16, 32)
    ]
    return Image.fromarray(np.average(layers, axis=0, weights=[1, 1, 2, 3, 4, 5]).astype(np.uint8))


def test_drawn_art_is_inside_and_photographs_are_outside() -> None:
    art = [Image.open(path) for folder in ("images", "covers") for path in sorted((SAMPLE / folder).iterdir())[:30]]
    assert (domain(starter.path(), art) >= 0.5).mean() > 0.95
    assert (domain(starter.path(), [photograph(n) for n in range(10)]) >= 0.5).mean() == 0


def test_alpha_is_over_white() -> None:
    alpha = Image.open(SAMPLE / "images" / "panda-3d.webp")
    clear = Image.new("RGB", alpha.size, "white")
    clear.paste(alpha, (0, 0), alpha)
    assert domain(starter.path(), [alpha]) == pytest.approx(domain(starter.path(), [clear]), abs=1e-3)


def test_a_checkpoint_without_a_statement_has_no_domain(tmp_path: Path) -> None:
    assert domain(tmp_path, [photograph(0)]).tolist() == [0]
    assert domain(starter.path(), []).shape == (0,)


def test_one_half_measures_the_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    near = [rng.normal(0, 1, (400, 40)) @ np.diag(np.linspace(3, 0.1, 40)) + middle for middle in (0, 5)]
    stated = Domain.measure(near)
    fresh = rng.normal(0, 1, (400, 40)) @ np.diag(np.linspace(3, 0.1, 40)) + 5
    assert (stated(fresh) == 1).mean() > 0.9
    assert (stated(fresh + 20) == 0).all()
    assert (stated(fresh - 2.5) < 0.5).all(), "between the kinds is outside"
    stated.save_pretrained(tmp_path / "domain")
    again = Domain.from_pretrained(tmp_path / "domain")
    assert again(fresh) == pytest.approx(stated(fresh), abs=1e-4)


def test_a_broken_statement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        Domain.from_pretrained(tmp_path / "none")
    save_file({"mean": np.zeros((2, 3), np.float32)}, tmp_path / "domain.safetensors")
    with pytest.raises(CheckpointError, match=r"tensors .*mean.*; allowed"):
        Domain.from_pretrained(tmp_path)
