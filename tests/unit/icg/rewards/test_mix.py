"""The mix: standardised, clipped, weighed; returned with its parts; the same on tensors with gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.errors import IcgError
from icg.rewards.mix import Mix
from PIL import Image

IMAGES = [Image.new("RGB", (4, 4), (v, 255 - v, 0)) for v in (0, 60, 120, 255)]
BRIEFS = [Brief("x")] * 4


@dataclass
class Channel:
    """Mean of one channel, 0..1, times `gain`."""

    channel: int
    gain: float = 1.0
    name: str = "channel"
    range: tuple[float, float] = (0.0, 1.0)
    calls: int = 0

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        self.calls += 1
        rows = [np.asarray(i)[..., self.channel].mean() / 255 * self.gain for i in images]
        return np.array(rows, np.float32)

    def tensor(self, images: torch.Tensor, briefs: list[Brief]) -> torch.Tensor:
        return (images[:, self.channel].mean((1, 2)) + 1) / 2 * self.gain


class Says:
    """A reward with preset values and without a tensor form."""

    name, range = "says", (0.0, 1.0)

    def __init__(self, *values: float) -> None:
        self.values = np.array(values, np.float32)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        return self.values[: len(images)]


def tensor(images: list[Image.Image]) -> torch.Tensor:
    rows = torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2)
    return (rows.float() / 127.5 - 1).requires_grad_()


def test_contributions_are_standardised_and_sum_to_the_total() -> None:
    mixed = Mix({"r": Channel(0), "g": Channel(1)}, {"r": 2.0, "g": 1.0})(IMAGES, BRIEFS)
    raw = np.array([0, 60, 120, 255]) / 255
    np.testing.assert_allclose(mixed.parts["r"], raw, atol=1e-6)
    np.testing.assert_allclose(mixed.contributions["r"], 2 * (raw - raw.mean()) / raw.std(), atol=1e-5)
    np.testing.assert_allclose(mixed.total, mixed.contributions["r"] + mixed.contributions["g"], atol=1e-6)
    assert mixed.total.dtype == np.float32


def test_fixed_scales_do_not_depend_on_the_batch() -> None:
    mix = Mix({"r": Channel(0)}, {"r": 1.0}, {"r": (0.5, 0.25)})
    together = mix(IMAGES, BRIEFS).total
    np.testing.assert_allclose(together, [-2, (60 / 255 - 0.5) * 4, (120 / 255 - 0.5) * 4, 2], atol=1e-5)
    np.testing.assert_allclose([mix([i], [b]).total[0] for i, b in zip(IMAGES, BRIEFS, strict=True)], together)


def test_no_reward_can_buy_the_total() -> None:
    honest, hacked = Says(0.5, 0.6, 0.5, 0.6), Says(0, 0, 0, 1000)
    rewards, scales = {"honest": honest, "hacked": hacked}, {"honest": (0.5, 0.05), "hacked": (0.0, 1.0)}
    mixed = Mix(rewards, {"honest": 1.0, "hacked": 1.0}, scales)(IMAGES, BRIEFS)
    np.testing.assert_allclose(mixed.contributions["hacked"], [0, 0, 0, 2.5])
    np.testing.assert_allclose(mixed.parts["hacked"][3], 1000)
    wide = Mix(rewards, {"hacked": -0.5}, scales, clip=math.inf)(IMAGES, BRIEFS)
    np.testing.assert_allclose(wide.total, [0, 0, 0, -500])


def test_rewards_without_a_weight_are_not_run_and_one_cover_is_average() -> None:
    red, green = Channel(0), Channel(1)
    mix = Mix({"r": red, "g": green}, {"r": 1.0})
    assert mix(IMAGES[:1], BRIEFS[:1]).total == 0
    assert (red.calls, green.calls) == (1, 0)
    assert mix([], []).total.shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reward_that_fails_is_named(bad: float) -> None:
    with pytest.raises(IcgError, match=r"reward 'says' is not a number for covers \[2\]"):
        Mix({"says": Says(0, 1, bad, 0), "r": Channel(0)}, {"r": 1.0, "says": 1.0})(IMAGES, BRIEFS)
    with pytest.raises(IcgError, match=r"reward 'r' is not a number for covers \[0\]"):
        Mix({"r": Channel(0, np.nan)}, {"r": 1.0}, {"r": (0, 1)}).tensor(tensor(IMAGES[:1]), BRIEFS[:1])


@pytest.mark.parametrize(
    ("weights", "scales", "clip", "message"),
    [
        ({"g": 1.0}, {}, 2.5, r"weights for \['g'\]; allowed: \['r'\]"),
        ({"r": 1.0}, {"g": (0, 1)}, 2.5, r"scales for \['g'\]"),
        ({"r": np.nan}, {}, 2.5, "weight of 'r'=nan"),
        ({"r": 1.0}, {"r": (0.0, 0.0)}, 2.5, "scale of 'r'"),
        ({"r": 1.0}, {"r": (np.inf, 1.0)}, 2.5, "scale of 'r'"),
        ({"r": 1.0}, {}, 0.0, "clip=0.0; allowed: above 0"),
        ({"r": 1.0}, {}, np.nan, "clip=nan"),
    ],
)
def test_invalid_mixes_are_refused(weights: dict, scales: dict, clip: float, message: str) -> None:
    with pytest.raises(IcgError, match=message):
        Mix({"r": Channel(0)}, weights, scales, clip)


def test_tensors_mix_like_pictures() -> None:
    mix = Mix({"r": Channel(0), "g": Channel(1, 9)}, {"r": 2.0, "g": 0.5}, {"r": (0.5, 0.25), "g": (0.5, 0.25)})
    mixed, pictures = mix.tensor(tensor(IMAGES), BRIEFS), mix(IMAGES, BRIEFS)
    np.testing.assert_allclose(mixed.total.detach().numpy(), pictures.total, atol=1e-5)
    for name in ("r", "g"):
        np.testing.assert_allclose(mixed.contributions[name].detach().numpy(), pictures.contributions[name], atol=1e-5)
        np.testing.assert_allclose(mixed.parts[name].numpy(), pictures.parts[name], atol=1e-5)


def test_past_the_clip_a_reward_stops_pulling_but_still_lifts() -> None:
    pixels = tensor(IMAGES)
    mixed = Mix({"r": Channel(0)}, {"r": 1.0}, {"r": (0.5, 0.1)}).tensor(pixels, BRIEFS)
    np.testing.assert_allclose(mixed.total.detach().numpy()[[0, 1, 3]], [-2.5, -2.5, 2.5], atol=1e-6)
    mixed.total.sum().backward()
    pulls = pixels.grad[:, 0].sum((1, 2))
    np.testing.assert_allclose(pulls.numpy(), [5, 5, 5, 0], atol=1e-4)


def test_tensors_need_scales_and_rewards_that_differentiate() -> None:
    with pytest.raises(IcgError, match=r"scales without \['r'\]"):
        Mix({"r": Channel(0)}, {"r": 1.0}).tensor(tensor(IMAGES), BRIEFS)
    with pytest.raises(IcgError, match="reward 'says' is a Says; allowed here: a TensorReward"):
        Mix({"says": Says(0)}, {"says": 1.0}, {"says": (0, 1)}).tensor(tensor(IMAGES), BRIEFS)
