"""The engagement reader with each vision-language family: its own classes, and gradients into the pictures."""

from pathlib import Path

import pytest
import torch
from icg.errors import CheckpointError
from icg.models import vlm as reading
from icg.rewards.reader import SIDE, Reader
from icg.rewards.vlm_pixels import VlmPixels, whole
from icg.starter import Starter
from PIL import Image

from tests.unit.icg import tiny_vlm

TEXTS = ["red kettle", "a red kettle on the stove", "red kettle"]


@pytest.fixture(params=tiny_vlm.VLM)
def reader(request: pytest.FixtureRequest, small: Starter, tmp_path: Path) -> Reader:
    return Reader(*reading.load(tiny_vlm.save(request.param, tmp_path)), small.embedding)


def images(seed: int, count: int = 3) -> torch.Tensor:
    small = torch.rand((count, 3, 6, 6), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(small, SIDE, mode="bicubic").clamp(-1, 1)


def test_each_family_reads_pictures_with_their_texts(reader: Reader) -> None:
    pictures = images(1)
    with torch.no_grad():
        content = reader(pictures, TEXTS)
        assert content.shape == (3, reader.width)
        one = torch.cat([reader(pictures[n : n + 1], TEXTS[n : n + 1]) for n in range(3)])
        torch.testing.assert_close(content, one, atol=2e-4, rtol=1e-3)
        hidden = content[:, : -(reader.width - tiny_vlm.WIDTH)]
        assert (hidden[0] - hidden[2]).abs().max() > 1e-4, "the picture counts"
        other = reader(pictures[:1], ["blue pan"])[:, : hidden.shape[1]]
        assert (hidden[0] - other[0]).abs().max() > 1e-4, "and so does the text"


def test_gradients_reach_the_pictures_through_each_family(reader: Reader) -> None:
    pictures = images(2, 2).requires_grad_()
    reader(pictures, TEXTS[:2])[:, : tiny_vlm.WIDTH].square().sum().backward()
    assert pictures.grad is not None
    assert (pictures.grad.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", tiny_vlm.VLM)
def test_the_layout_is_the_processors_own(name: str, tmp_path: Path) -> None:
    _, processor = reading.load(tiny_vlm.save(name, tmp_path))
    processor = whole(processor)
    pixels = VlmPixels(processor, SIDE)
    (picture,) = images(3, 1)
    exact = ((picture.permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    sized = Image.fromarray(exact).resize(pixels.size[::-1], Image.Resampling.BICUBIC)
    expected = processor.image_processor([sized], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels(picture[None]), expected, atol=0.25, rtol=0)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    _, processor = reading.load(tiny_vlm.save("qwen2_5_vl", tmp_path))
    own = processor.image_processor

    class Shuffled:
        image_mean, image_std, patch_size, merge_size = own.image_mean, own.image_std, own.patch_size, own.merge_size
        temporal_patch_size = own.temporal_patch_size

        def __call__(self, pictures: list[Image.Image], return_tensors: str) -> dict[str, torch.Tensor]:
            values = dict(own(pictures, return_tensors=return_tensors))
            return values | {"pixel_values": values["pixel_values"].flip(0)}

    processor.image_processor = Shuffled()
    with pytest.raises(CheckpointError, match=r"in an order of its own; allowed: .*Qwen2\.5-VL"):
        VlmPixels(processor, SIDE)
