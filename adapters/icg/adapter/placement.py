"""Where a user likes the subject in a cover: a ridge regression from user embeddings to a few places. Knows no picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from icg.adapter.decision import ridge

COUNT = 3
"""Places that a user chooses from."""


class Placement(nn.Module):
    """Scores of COUNT places for users (B, U); the best one is a user's. `places` (COUNT, 3): edge, x and y as in a Place."""

    def __init__(self, user: int) -> None:
        super().__init__()
        self.scores = nn.Linear(user, COUNT).requires_grad_(False)
        self.register_buffer("places", torch.zeros(COUNT, 3))

    def place(self, user: Tensor) -> list[float]:
        """Edge, x and y for a user (U,); zeros are nobody, who gets what most users like."""
        best = int(self.scores(user.float()).argmax())
        place: list[float] = self.places[best].tolist()  # type: ignore[index]
        return place

    @torch.no_grad()
    def fit(self, users: Tensor, favourite: Tensor, places: Tensor, strength: float = 10.0) -> None:
        """Ridge regression of one-hot `favourite` (N,) on `users` (N, U). places (COUNT, 3)."""
        targets = torch.nn.functional.one_hot(favourite, COUNT).double()
        weight, bias = ridge(users, targets, strength)
        self.scores.weight.copy_(weight)
        self.scores.bias.copy_(bias)
        self.places.copy_(places)  # type: ignore[operator]
