"""Depth and saliency: our small network from a folder, and public ones of transformers or other libraries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers as t
from icg.errors import CheckpointError
from icg.reliability.cues import PublicCues, SmallCues
from torch import Tensor, nn

WIDTHS = (8, 16, 24)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape) * 2 - 1


def dpt(folder: Path) -> Any:
    narrow = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
    necks = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "backbone_out_indices": [0, 1, 2, 3]}
    wide = {"initializer_range": 0.5}  # else its features are close to zero and its depth is constant
    model = t.DPTForDepthEstimation(t.DPTConfig(image_size=384, patch_size=32, **narrow, **necks, **wide))
    model.eval().save_pretrained(folder)
    return model


def segformer(folder: Path, classes: int = 3) -> Any:
    shape: dict[str, Any] = {
        "hidden_sizes": [8, 8, 8, 8],
        "depths": [1] * 4,
        "num_attention_heads": [1] * 4,
        "decoder_hidden_size": 8,
    }
    shape["initializer_range"] = 0.5
    model = t.SegformerForSemanticSegmentation(t.SegformerConfig(num_labels=classes, **shape))
    model.eval().save_pretrained(folder)
    return model


@pytest.mark.parametrize(("widths", "height", "width"), [(None, 96, 96), (None, 64, 128), (WIDTHS, 32, 32)])
def test_small_cues_are_planes_of_the_picture_s_size(widths: tuple[int, ...] | None, height: int, width: int) -> None:
    cues = SmallCues(widths) if widths else SmallCues()
    images = pictures(2, 3, height, width)
    for plane in cues(images * 50):
        assert plane.shape == (2, 1, height, width)
        assert 0 <= plane.min() < plane.max() <= 1
    depth, saliency = cues(images)
    assert not torch.allclose(depth, saliency)
    assert torch.allclose(cues(images[1:])[0], depth[1:], atol=1e-6), "no picture of a batch changes another's"


def test_small_cues_are_small() -> None:
    assert sum(p.numel() for p in SmallCues().parameters()) == pytest.approx(200_000, rel=0.5)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 0.0), (torch.float16, 2e-3)])
def test_small_cues_are_read_as_they_were_written(tmp_path: Path, dtype: torch.dtype, within: float) -> None:
    cues = SmallCues(WIDTHS).eval()
    cues.save_pretrained(tmp_path, dtype)
    again = SmallCues.from_pretrained(tmp_path)
    assert again.widths == WIDTHS
    assert not again.training
    assert {(p.dtype, p.requires_grad) for p in again.parameters()} == {(torch.float32, False)}
    images = pictures(1, 3, 32, 32)
    for before, after in zip(cues(images), again(images), strict=True):
        torch.testing.assert_close(after, before, atol=within, rtol=0)


@pytest.mark.parametrize(
    "widths",
    [None, 8, [], [16], [8, 16, 0], [8, -8], [8, 1.5], ["8", "16"], [8, 16], [8, 16, 32], [4, 8, 24], [8, True]],
)
def test_other_widths_are_refused(tmp_path: Path, widths: Any) -> None:
    SmallCues(WIDTHS).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"widths": widths}))
    with pytest.raises(CheckpointError, match="cues="):
        SmallCues.from_pretrained(tmp_path)


def test_pickles_and_missing_or_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        SmallCues.from_pretrained(tmp_path / "nowhere")
    SmallCues(WIDTHS).save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    stored = weights.read_bytes()
    weights.write_bytes(stored[:-100])
    with pytest.raises(CheckpointError, match="safetensors"):
        SmallCues.from_pretrained(tmp_path)
    weights.unlink()
    torch.save({"leave.bias": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="only pickled weights"):
        SmallCues.from_pretrained(tmp_path)
    weights.write_bytes(stored)
    SmallCues.from_pretrained(tmp_path)
    config.unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        SmallCues.from_pretrained(tmp_path)


def normalised(images: Tensor) -> Tensor:
    """As ImageNet's, from [-1, 1]."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images / 2 + 0.5 - mean[:, None, None]) / deviation[:, None, None]


@pytest.mark.parametrize("classes", [3, 1])
def test_public_cues_equal_the_outputs_of_their_models(tmp_path: Path, classes: int) -> None:
    deep, segmenter = dpt(tmp_path / "dpt"), segformer(tmp_path / "segformer", classes)
    cues = PublicCues.from_pretrained(tmp_path / "dpt", str(tmp_path / "segformer"))
    images = pictures(2, 3, 384, 384)
    with torch.no_grad():
        depth, saliency = cues(images)
        normal = normalised(images)
        near, logits = deep(pixel_values=normal).predicted_depth, segmenter(pixel_values=normal).logits
    low, high = near.amin((1, 2), True), near.amax((1, 2), True)
    assert (high - low).min() > 0.1
    salient = logits.sigmoid() if classes == 1 else logits.softmax(1)[:, 1:].sum(1, keepdim=True)
    for plane, expected in ((depth, ((near - low) / (high - low))[:, None]), (saliency, salient)):
        assert plane.shape == (2, 1, 384, 384)
        target = F.interpolate(expected, (384, 384), mode="bilinear")
        torch.testing.assert_close(plane, target, atol=1e-4, rtol=0)
        assert plane.std() > 1e-4, "not the same everywhere"
    assert not any(p.requires_grad for p in cues.parameters())


def test_public_cues_take_pictures_of_any_size_and_pass_gradients(tmp_path: Path) -> None:
    dpt(tmp_path / "dpt")
    segformer(tmp_path / "segformer")
    cues = PublicCues.from_pretrained(tmp_path / "dpt", tmp_path / "segformer")
    images = pictures(1, 3, 48, 32).requires_grad_()
    for plane in cues(images):
        assert plane.shape == (1, 1, 48, 32)
        assert plane.min() >= 0
        assert plane.max() <= 1
        (gradient,) = torch.autograd.grad(plane.square().sum(), images, retain_graph=True)
        assert gradient.abs().max() > 0


def test_missing_public_cues_are_named(tmp_path: Path) -> None:
    dpt(tmp_path / "dpt")
    segformer(tmp_path / "segformer")
    with pytest.raises(CheckpointError, match=r"depth=.*nowhere.*allowed: depth models"):
        PublicCues.from_pretrained(tmp_path / "nowhere", tmp_path / "segformer")
    with pytest.raises(CheckpointError, match=r"saliency=.*nowhere"):
        PublicCues.from_pretrained(tmp_path / "dpt", tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"saliency=.*dpt"):
        PublicCues.from_pretrained(tmp_path / "dpt", tmp_path / "dpt")


class Flat(nn.Module):
    """A depth model with constant output."""

    def forward(self, pixel_values: Tensor) -> Any:
        return t.modeling_outputs.DepthEstimatorOutput(predicted_depth=torch.ones(len(pixel_values), 4, 4))


class Bright(nn.Module):
    """Saliency by brightness; with `others`, the first of several maps, as U2-Net returns them."""

    def __init__(self, others: bool) -> None:
        super().__init__()
        self.others = others

    def forward(self, pixels: Tensor) -> Any:
        mask = (pixels.mean(1, keepdim=True) > 0).float()
        return (mask, 1 - mask, torch.zeros_like(mask)) if self.others else mask


@pytest.mark.parametrize("others", [True, False])
def test_saliency_outputs_of_other_networks_are_read(others: bool) -> None:
    images = torch.full((1, 3, 64, 64), -1.0)
    images[..., :32] = 1
    depth, saliency = PublicCues(Flat(), Bright(others), side=64)(images)
    assert saliency[..., :31].min() == 1
    assert saliency[..., 33:].max() == 0
    assert depth.abs().max() == 0, "constant depth does not divide by zero"
