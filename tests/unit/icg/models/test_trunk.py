"""One pass of the image trunk for all judges of the same pictures: the same numbers, without running it again."""

from __future__ import annotations

import torch
from icg import starter
from icg.models.trunk import Trunk, one_pass, shared
from icg.rewards.small_aesthetic import SmallAesthetic
from torch import Tensor, nn


def runs(trunk: Trunk) -> list[Tensor]:
    """Gets the input of each run from now on."""
    inputs: list[Tensor] = []

    def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0])

    trunk.stem.register_forward_pre_hook(note)
    return inputs


def test_within_one_pass_equal_pixels_run_once_with_equal_results() -> None:
    trunk, pixels = Trunk().eval().requires_grad_(False), torch.randn(2, 3, 64, 64)
    expected = trunk(pixels), trunk.looks(pixels)
    inputs = runs(trunk)
    with torch.no_grad(), one_pass():
        got = trunk(pixels.clone()), trunk.looks(pixels)
        other = trunk(pixels + 0.1)
    assert [torch.equal(a, b) for a, b in zip(got, expected, strict=True)] == [True, True]
    assert len(inputs) == 2
    assert not torch.equal(other, expected[0])
    with torch.no_grad():
        trunk(pixels)
    assert len(inputs) == 3, "afterwards nothing is kept"


def test_gradients_pass_through_a_run_of_their_own() -> None:
    trunk = Trunk().eval().requires_grad_(False)
    pixels = torch.randn(1, 3, 64, 64, requires_grad=True)
    with one_pass():
        trunk(pixels).sum().backward()
    assert pixels.grad is not None


def test_weights_that_differ_are_not_shared() -> None:
    first, second = Trunk(), Trunk()
    assert shared(first, second) is first
    second.load_state_dict(first.state_dict())
    assert shared(first, second) is second
    assert shared(Trunk((1, 3, 3, 4, 4, 5, 1)), first) is not first


def test_the_judges_of_the_starter_share_one_trunk() -> None:
    embedding, rewards = starter.judges(starter.path())
    aesthetic = rewards["aesthetic"]
    assert isinstance(aesthetic, SmallAesthetic)
    assert embedding.space.encoder.trunk is embedding.dual.trunk is aesthetic.trunk
