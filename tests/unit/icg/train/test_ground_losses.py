"""What grounds are learned by: guidance that is built into one row, and drafts that end at the whole picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from icg.train.starter.bare_grounds import KINDS, Grounds
from icg.train.starter.export import scheduler
from icg.train.starter.ground_losses import draft_loss, draft_path, late_loss, refining_loss
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


def test_a_draft_is_drawn_as_the_schedule_says_and_ends_at_its_picture() -> None:
    schedule = scheduler()
    schedule.set_timesteps(5)
    path = draft_path(Knows(0.7), torch.ones(3, 1, 1), schedule, (2, 4, 4))
    assert len(path) == 6
    assert not any(latents.requires_grad for latents in path)
    assert torch.allclose(path[-1], torch.full((3, 2, 4, 4), 0.7), atol=0.01)


def test_a_late_step_is_corrected_to_the_picture_that_its_path_came_near_to() -> None:
    model, t = Knows(0.0), torch.tensor([0.4, 0.2])
    now, embeds = torch.full((2, 2, 4, 4), 0.5), torch.ones(2, 1, 1)
    optimizer = torch.optim.SGD([model.picture], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        late_loss(model, torch.ones(2, 2, 4, 4), now, t, embeds).backward()
        optimizer.step()
    assert float(model.picture.detach()) == pytest.approx(1.0, abs=1e-3)


def test_a_draft_is_taken_for_the_nearest_ground_of_its_palette_and_backdrop() -> None:
    grounds = Grounds(None, 2 * KINDS + 3, 0)
    latents = torch.arange(len(grounds.codes), dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2)
    rows = np.array([0, 1, 4, KINDS + 4])
    near = torch.tensor([2.0 * KINDS, 0.4 * KINDS, KINDS + 9.0, 2.0 * KINDS])[:, None, None, None].expand(-1, 1, 2, 2)
    assert grounds.nearest(rows, near, latents).tolist() == [2 * KINDS, 1, KINDS + 4, KINDS + 4]
    kinds = grounds.codes[:KINDS]
    assert len({tuple(code) for code in kinds.tolist()}) == KINDS
    assert (grounds.codes[KINDS : 2 * KINDS] == kinds).all()
