"""What grounds are learned by: guidance that is built into one row, and drafts that end at the whole picture."""

from __future__ import annotations

import pytest
import torch
from icg.train.starter.ground_losses import draft_loss, refining_loss
from torch import Tensor, nn


class Constant(nn.Module):
    """Predicts one velocity for everybody, and another one for nobody (conditions of zeros)."""

    def __init__(self, known: float, nobody: float) -> None:
        super().__init__()
        self.known, self.nobody = nn.Parameter(torch.tensor(known)), nn.Parameter(torch.tensor(nobody))

    def forward(self, x: Tensor, encoder_hidden_states: Tensor, timestep: Tensor, return_dict: bool) -> tuple[Tensor]:
        known = encoder_hidden_states.flatten(1).any(1)[:, None, None, None]
        return (torch.where(known, self.known, self.nobody).expand_as(x),)


@pytest.mark.parametrize(("guidance", "expected"), [(1.0, -1.0), (2.0, -2.0), (3.0, -3.0)])
def test_one_row_learns_what_guidance_makes_of_two(guidance: float, expected: float) -> None:
    """Clean pictures are 1 everywhere: the mean velocity is -1. Nobody's is 0, so guidance of w gives -w."""
    model, shown = Constant(0.0, 0.0), torch.ones(64, 1, 1)
    optimizer = torch.optim.SGD([model.known], lr=0.2)
    torch.manual_seed(0)
    values = []
    for _ in range(300):
        optimizer.zero_grad()
        loss = draft_loss(model, torch.ones(64, 2, 4, 4), shown, torch.zeros(64, 1, 1), 0.2, guidance)
        loss.backward()
        assert model.nobody.grad is None or not model.nobody.grad.any(), "nobody is a reference"
        optimizer.step()
        values.append(float(model.known.detach()))
    assert sum(values[-50:]) / 50 == pytest.approx(expected, abs=0.1)


def test_a_draft_is_refined_to_the_whole_picture() -> None:
    """The loss is nothing for a denoiser that knows the picture, wherever the row began."""
    picture, draft = torch.ones(32, 2, 4, 4), torch.zeros(32, 2, 4, 4)
    torch.manual_seed(0)
    assert refining_loss(Knows(1.0), picture, draft, torch.ones(32, 1, 1), 0.4).item() < 1e-6
    assert refining_loss(Constant(0.0, 0.0), picture, draft, torch.ones(32, 1, 1), 0.4).item() > 0.1


class Knows(nn.Module):
    """The velocity to one picture, from wherever a row is."""

    def __init__(self, picture: float) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.tensor(picture))

    def forward(self, x: Tensor, encoder_hidden_states: Tensor, timestep: Tensor, return_dict: bool) -> tuple[Tensor]:
        return ((x - self.picture) / (timestep / 1000)[:, None, None, None],)
