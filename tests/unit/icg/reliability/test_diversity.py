"""Diversity of backgrounds, on pictures with known answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from icg.reliability.diversity import distances, entropy
from PIL import Image

EACH = 4
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def placed(box: tuple[int, int, int, int] = (24, 24, 40, 40)) -> Image.Image:
    image = Image.new("RGBA", (64, 64))
    image.paste((9, 9, 9, 255), box)
    return image


def pictures(colours: Sequence[tuple[int, int, int]]) -> torch.Tensor:
    """Pictures of one colour each, except under the product, which does not count."""
    tensor = (torch.tensor(colours) / 127.5 - 1)[:, :, None, None].repeat(1, 1, 64, 64)
    tensor[:, :, 24:40, 24:40] = torch.linspace(-1, 1, len(colours))[:, None, None, None]
    return tensor


def between(colours: Sequence[tuple[int, int, int]]) -> list[float]:
    return distances(pictures(colours), [placed()] * len(colours), EACH).tolist()


def test_distance_is_between_backgrounds_of_one_brief() -> None:
    assert between([(10, 20, 30)] * EACH) == pytest.approx([0.0] * 6, abs=2e-3)
    assert between([BLACK] * EACH + [WHITE] * EACH) == pytest.approx([0.0] * 12, abs=2e-3), "two briefs may differ"
    assert between([BLACK, BLACK, BLACK, (100, 0, 0)]) == pytest.approx([0, 0, 100, 0, 100, 100], abs=2e-3)
    assert between([BLACK, WHITE] * 2)[0] == pytest.approx(441.7, abs=0.1)


def test_pixels_of_either_product_do_not_count() -> None:
    left, right = placed((0, 0, 32, 64)), placed((32, 0, 60, 64))
    shown = pictures([BLACK, BLACK])
    shown[1, :, :, :60] = 1.0
    assert distances(shown, [left, right], 2).item() == pytest.approx(0, abs=2e-3)
    shown[1, :, :, 60:] = 1.0
    assert distances(shown, [left, right], 2).item() == pytest.approx(441.7, abs=0.1)


def test_equal_pictures_have_a_gradient() -> None:
    shown = pictures([BLACK, BLACK]).requires_grad_(True)
    distances(shown, [placed()] * 2, 2).sum().backward()
    assert shown.grad is not None
    assert bool(shown.grad.isfinite().all())


def test_entropy_is_of_all_colours() -> None:
    assert entropy(pictures([BLACK] * 4), [placed()] * 4) == 0
    assert entropy(pictures([BLACK, (255, 0, 0), (0, 255, 0), (0, 0, 255)]), [placed()] * 4) == pytest.approx(2)
