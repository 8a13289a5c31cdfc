"""The recipe of the upscaler: it starts as bicubic, learns, resumes, and writes a folder for transformers and for us."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from icg import starter
from icg.data.upscaling import KINDS, Pairs, figure, pairs, random_cover
from icg.evaluate import upscaling as evaluation
from icg.models.upscale import Upscaler
from icg.train.loop import Fit
from icg.train.upscaling import recipe
from PIL import Image

SAMPLE = Path(__file__).parents[4] / "services" / "eyecatch" / "sample" / "covers"
SMALL = recipe.UpscalingConfig(dim=12, depths=(1,), heads=2, edge=16)


@pytest.fixture(scope="module")
def training_pairs() -> Pairs:
    return pairs([random_cover(3, n, 64) for n in range(4)], starter.autoencoder(), 3)


def test_it_begins_as_bicubic() -> None:
    model = recipe.build(SMALL)
    with torch.no_grad():
        model.swin2sr.conv_after_body.weight.zero_()
    picture = random_cover(5, 5, 64)
    (upscaled,) = Upscaler(model)([picture])
    plain = picture.resize((256, 256), Image.Resampling.BICUBIC)
    # Pillow rounds and clips between its two passes.
    assert evaluation.psnr(upscaled, plain) > 45


def test_pairs_hold_clean_autoencoded_and_damaged_small_covers(training_pairs: Pairs) -> None:
    assert (training_pairs.large.shape, training_pairs.small.shape) == ((4, 64, 64, 3), (4, len(KINDS), 16, 16, 3))
    for large, (clean, autoencoded, spoiled) in zip(training_pairs.large, training_pairs.small, strict=True):
        expected = np.asarray(Image.fromarray(large).resize((16, 16), Image.Resampling.BICUBIC))
        assert np.array_equal(clean, expected)
        assert not np.array_equal(clean, autoencoded)
        assert not np.array_equal(clean, spoiled)
    again = pairs([Image.fromarray(p) for p in training_pairs.large], starter.autoencoder(), 3)
    assert np.array_equal(again.small, training_pairs.small)
    assert not np.array_equal(random_cover(3, 0, 64), random_cover(3, 1, 64))
    sprite = figure(np.random.default_rng(1), 64)
    assert (sprite.shape, sprite[..., 3].max()) == ((64, 64, 4), 255)


def test_crops_of_both_sizes_show_the_same(training_pairs: Pairs) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        low, high = training_pairs.crop(1, 0, 8, rng)
        assert (low.shape, high.shape) == ((8, 8, 3), (32, 32, 3))
        smaller = np.asarray(Image.fromarray(np.ascontiguousarray(high)).resize((8, 8), Image.Resampling.BOX), float)
        wrong = np.abs(smaller - low[::-1]).mean()
        assert np.abs(smaller - low).mean() <= min(wrong, 12)


def test_it_learns_and_resumes(training_pairs: Pairs, tmp_path: Path) -> None:
    fit = Fit(12, 2e-3, 4, warmup=2, save_every=6)
    whole = recipe.run(tmp_path / "whole", training_pairs, training_pairs, fit, SMALL)
    torch.manual_seed(0)
    before = recipe.build(SMALL)
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), whole.parameters(), strict=True))
    again = recipe.run(tmp_path / "whole", training_pairs, training_pairs, fit, SMALL)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))


def test_smoke(tmp_path: Path) -> None:
    recipe.main(["--pictures", str(SAMPLE), "--out", str(tmp_path), "--smoke"])
    files = {p.name for p in (tmp_path / "upscaler").iterdir()}
    assert files == {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert (tmp_path / "run" / "config.json").exists()
    (cover,) = Upscaler.from_pretrained(tmp_path / "upscaler")([random_cover(1, 1, 32)])
    assert cover.size == (128, 128)


@pytest.mark.slow
def test_gains_of_every_kind(tmp_path: Path) -> None:
    recipe.save(recipe.build(SMALL), tmp_path / "one")
    result = evaluation.measure(tmp_path / "one", SAMPLE, seeds=1, count=1)
    assert set(result) == {"catalogue", "half", "drawings", "covers", "spoiled"}
    assert all(len(v) == 1 and np.isfinite(v[0]) for row in result.values() for v in row.values())
