"""What grounds are learned by: drafts from nearly all noise, and their end at the whole picture."""

from __future__ import annotations

import pytest
import torch
from icg.train.starter.ground_losses import draft_loss, refining_loss
from torch import Tensor, nn


class Constant(nn.Module):
    """Predicts one velocity."""

    def __init__(self, velocity: float) -> None:
        super().__init__()
        self.velocity = nn.Parameter(torch.tensor(velocity))

    def forward(self, x: Tensor, encoder_hidden_states: Tensor, timestep: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (self.velocity.expand_as(x),)


class Sees(Constant):
    """Keeps the times that it is asked for."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.times: list[Tensor] = []

    def forward(self, x: Tensor, encoder_hidden_states: Tensor, timestep: Tensor, return_dict: bool) -> tuple[Tensor]:
        self.times.append(timestep / 1000)
        return super().forward(x, encoder_hidden_states, timestep, return_dict)


def test_most_drafts_are_nearly_all_noise() -> None:
    """Beyond 0.95 of noise, where a draw begins, the usual times come in one of two hundred rows."""
    watch = Sees()
    torch.manual_seed(0)
    for late in (0.0, 0.75):
        draft_loss(watch, torch.ones(4000, 2, 1, 1), torch.zeros(4000, 2, 1, 1), torch.ones(4000, 1, 1), late)
    rarely, often = (float((times > 0.95).float().mean()) for times in watch.times)
    assert rarely < 0.01
    assert often == pytest.approx(0.75 * (0.05 / 0.35) ** 0.5, abs=0.03)
    assert all(0 < float(times.min()) < 0.2 for times in watch.times), "the end of a draft is learned too"


def test_a_draft_is_learned_by_its_conditions_alone() -> None:
    """The loss is nothing for a denoiser that knows the picture; one that predicts its mean velocity keeps the noise as its error."""
    picture, shown = torch.ones(512, 2, 4, 4), torch.ones(512, 1, 1)
    torch.manual_seed(0)
    noise = torch.randn_like(picture)
    assert draft_loss(Knows(1.0), picture, noise, shown, 0.75).item() < 1e-6
    assert draft_loss(Constant(-1.0), picture, noise, shown, 0.75).item() == pytest.approx(1.0, abs=0.1)


def test_a_draft_is_refined_to_the_whole_picture() -> None:
    """The loss is nothing for a denoiser that knows the picture, wherever the row began."""
    picture, draft = torch.ones(32, 2, 4, 4), torch.zeros(32, 2, 4, 4)
    torch.manual_seed(0)
    assert refining_loss(Knows(1.0), picture, draft, torch.ones(32, 1, 1), 0.4).item() < 1e-6
    assert refining_loss(Constant(0.0), picture, draft, torch.ones(32, 1, 1), 0.4).item() > 0.1


class Knows(nn.Module):
    """The velocity to one picture, from wherever a row is."""

    def __init__(self, picture: float) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.tensor(picture))

    def forward(self, x: Tensor, encoder_hidden_states: Tensor, timestep: Tensor, return_dict: bool) -> tuple[Tensor]:
        return ((x - self.picture) / (timestep / 1000)[:, None, None, None],)
