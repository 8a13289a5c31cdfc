"""Upscaling: tiles equal the whole picture, all sizes, errors, and the shipped upscaler beats bicubic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from icg import starter
from icg.brief import MAX_PIXELS
from icg.data.upscaling import catalogue, held_out, random_cover
from icg.errors import CheckpointError, IcgError
from icg.evaluate.upscaling import gains, psnr, seams, ssim
from icg.models.upscale import OVERLAP, TILE, Upscaler
from PIL import Image, ImageFilter
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

SAMPLE = Path(__file__).parents[4] / "services" / "eyecatch" / "sample" / "covers"


def tiny(upscale: int = 4, upsampler: str = "pixelshuffledirect", seed: int = 0) -> Swin2SRForImageSuperResolution:
    """Random weights, large enough for a wide receptive field."""
    torch.manual_seed(seed)
    model = Swin2SRForImageSuperResolution(
        Swin2SRConfig(
            embed_dim=12,
            depths=[2, 2],
            num_heads=[2, 2],
            window_size=8,
            mlp_ratio=2.0,
            upscale=upscale,
            upsampler=upsampler,
            image_size=32,
        )
    )
    for p in model.parameters():
        if p.ndim > 1:
            p.data *= 4
    return model


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def shipped() -> Upscaler:
    return Upscaler.from_pretrained(starter.path() / "upscaler")


@pytest.mark.parametrize(("upscale", "upsampler"), [(2, "pixelshuffle"), (4, "nearest+conv"), (4, "pixelshuffle_aux")])
def test_every_kind_of_swin2sr(upscale: int, upsampler: str, tmp_path: Path) -> None:
    tiny(upscale, upsampler).save_pretrained(tmp_path / "one")
    (upscaled,) = Upscaler.from_pretrained(tmp_path / "one")([noise(20, 13)])
    assert upscaled.size == (20 * upscale, 13 * upscale)


def test_tiles_are_as_the_whole() -> None:
    model = tiny()
    x = torch.from_numpy(np.asarray(noise(144, 136), np.float32) / 255).permute(2, 0, 1)
    whole = Upscaler(model).tensor(x)
    tiled = Upscaler(model, tile=128).tensor(x)
    assert whole.std() > 0.05
    assert (tiled - whole).abs().max() < 1e-4
    hard = Upscaler(model, tile=128, overlap=0).tensor(x)
    assert (hard - whole).abs().max() > 100 * (tiled - whole).abs().max() + 1e-3


def test_seams_are_measured() -> None:
    model, picture = tiny(), noise(130, 130)
    soft, hard = (seams(Upscaler(model, tile=128, overlap=overlap), picture) for overlap in (OVERLAP, 0))
    assert soft["ratio"] == pytest.approx(1, abs=0.3)
    assert soft["most"] <= 1
    assert hard["ratio"] > 2
    assert hard["most"] > 10


@settings(max_examples=8, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70), st.sampled_from([2, 4]))
def test_any_size(width: int, height: int, factor: int) -> None:
    (upscaled,) = Upscaler(MODEL, factor, tile=32, overlap=16)([noise(width, height)])
    assert (upscaled.size, upscaled.mode) == ((width * factor, height * factor), "RGB")


MODEL = tiny()


def test_a_picture_is_the_same_in_any_company_and_mode() -> None:
    upscaler, picture = Upscaler(tiny()), noise(24, 40)
    alone = upscaler([picture])[0]
    beside = upscaler([noise(33, 16, 1), picture.convert("RGBA")])[1]
    assert alone.tobytes() == beside.tobytes()
    grey = upscaler([picture.convert("L")])[0]
    assert grey.mode == "RGB"
    assert upscaler([]) == []


def test_factor_2_is_factor_4_scaled_down() -> None:
    picture = noise(24, 24)
    (four,), (two,) = Upscaler(MODEL)([picture]), Upscaler(MODEL, 2)([picture])
    assert two.size == (48, 48)
    assert two.tobytes() == four.reduce(2).tobytes()


def test_pictures_that_are_refused() -> None:
    upscaler = Upscaler(MODEL)
    ok = noise(16, 16)
    with pytest.raises(IcgError, match=r"images\[1\] of 7x30 pixels; allowed: edges of 8 or more"):
        upscaler([ok, noise(7, 30)])
    edge = int((MAX_PIXELS / 16) ** 0.5)
    with pytest.raises(IcgError, match=rf"images\[0\] of {edge}x{edge + 1} pixels.* {MAX_PIXELS // 16} pixels"):
        upscaler([Image.new("RGB", (edge, edge + 1))])
    clear = ok.convert("RGBA")
    clear.putpixel((3, 3), (0, 0, 0, 254))
    with pytest.raises(IcgError, match="RGBA with transparent pixels; allowed: an opaque picture"):
        upscaler([clear])
    with pytest.raises(IcgError, match="is ndarray; allowed: a PIL image"):
        upscaler([np.zeros((16, 16, 3), np.uint8)])  # type: ignore[list-item]


@pytest.mark.parametrize("factor", [0, 1, 3, 8])
def test_factors_that_are_refused(factor: int) -> None:
    with pytest.raises(IcgError, match=f"factor={factor}; allowed: 2 or 4"):
        Upscaler(MODEL, factor)


@pytest.mark.parametrize(("tile", "overlap"), [(60, 16), (64, 20), (64, 40), (0, 0), (64, -8)])
def test_tiles_that_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(IcgError, match=f"tile={tile}, overlap={overlap}; allowed: multiples of 8"):
        Upscaler(MODEL, tile=tile, overlap=overlap)


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        Upscaler.from_pretrained(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="model_type='llava'; allowed: 'swin2sr'"):
        Upscaler.from_pretrained(starter.path() / "vlm")
    MODEL.save_pretrained(tmp_path / "one")
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    for change in ({"depths": [2, 2, 2], "num_heads": [2, 2, 2]}, {"embed_dim": 24}):
        (tmp_path / "one" / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError, match=r"weights do not fit|not readable"):
            Upscaler.from_pretrained(tmp_path / "one")
    (tmp_path / "one" / "model.safetensors").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match="allowed: safetensors"):
        Upscaler.from_pretrained(tmp_path / "one")
    with pytest.raises(CheckpointError, match="upscale=1"):
        Upscaler(tiny(1, ""))


def test_the_shipped_network_beats_bicubic_on_held_out_subjects(shipped: Upscaler) -> None:
    large = catalogue(SAMPLE, held=True)[::4]
    small = [p.resize((32, 32), Image.Resampling.BICUBIC) for p in large]
    result = gains(shipped, small, large)
    assert result["psnr_gain"] > 1.2
    assert result["ssim_gain"] > 0.04
    half = [p.resize((64, 64), Image.Resampling.BICUBIC) for p in large]
    assert gains(Upscaler(shipped.model, 2), half, large)["psnr_gain"] > 2


def test_the_shipped_network_has_no_seams_and_is_small(shipped: Upscaler) -> None:
    result = seams(Upscaler(shipped.model, tile=128), random_cover(77, 1, 128))
    assert result["most"] <= 1
    assert result["ratio"] < 1.5
    assert (TILE % shipped.window, OVERLAP % shipped.window) == (0, 0)
    assert (starter.path() / "upscaler" / "model.safetensors").stat().st_size <= 200_000


def test_measures() -> None:
    picture = random_cover(1, 2, 64)
    soft = picture.filter(ImageFilter.GaussianBlur(1.5))
    assert (psnr(picture, picture), ssim(picture, picture)) == (99.0, pytest.approx(1))
    one_off = Image.fromarray(np.asarray(Image.new("RGB", (64, 64), (9, 9, 9))) + np.uint8(1))
    assert psnr(Image.new("RGB", (64, 64), (9, 9, 9)), one_off) == pytest.approx(48.13, abs=0.01)
    assert ssim(picture, soft) < 0.95


def test_training_and_held_out_subjects_are_disjoint() -> None:
    training, held = (catalogue(SAMPLE, held=h) for h in (False, True))
    assert len(training) + len(held) == 240
    assert 20 <= len(held) <= 80
    assert held_out("fox")
    with pytest.raises(IcgError, match="files named SUBJECT-NUMBER"):
        catalogue(Path(__file__).parent, held=True)
