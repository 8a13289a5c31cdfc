"""Which palette and backdrop a ground is drawn in: those that a linear reading of the user finds likeliest. Knows no picture.

A user of two minds, as a few events make most, asks the denoiser for a mean of two grounds, which is a smear. A typical user who likes one
palette and one backdrop takes their place. The seed chooses among those that are about as likely.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NEAR = 0.8
"""What is at least so likely as the likeliest may be drawn too: the covers of a job then show each."""
RIDGE = 10.0
"""Strength of the ridge regressions."""


class Decision(nn.Module):
    """`scores` of palettes and backdrops for users (B, U); `typical` (palettes, backdrops, U): who likes one of each, unit rows; `tones`
    (palettes, 2, 3): colours of each palette's light and dark surfaces, 0..255."""

    def __init__(self, palettes: int, backdrops: int, user: int) -> None:
        super().__init__()
        self.scores = nn.Linear(user, palettes + backdrops).requires_grad_(False)
        self.register_buffer("typical", torch.zeros(palettes, backdrops, user))
        self.register_buffer("tones", torch.zeros(palettes, 2, 3))

    def ground(self, user: Tensor, seed: int) -> Tensor:
        """A user (1, U) -> the typical user (1, U) of a likely palette and backdrop; zeros, nobody, stay zeros."""
        typical: Tensor = self.typical[self.look(user, seed)][None]  # type: ignore[index]
        return typical.to(user) if bool(user.any()) else user

    def look(self, user: Tensor, seed: int) -> tuple[int, int]:
        """The palette and the backdrop that are decided on for a user (1, U)."""
        palettes, backdrops = self._likely(user)
        return palettes[seed % len(palettes)], backdrops[seed // len(palettes) % len(backdrops)]

    def studio(self, user: Tensor, seed: int, colour: Tensor) -> Tensor:
        """A user (1, U) -> who likes a likely palette and nothing else (1, U). For zeros, nobody, one of the half from which a product of
        this mean `colour` (3,), 0..255, stands out more."""
        typical: Tensor = self.typical.mean(1)  # type: ignore[operator]
        if bool(user.any()):
            palettes = self._likely(user)[0]
        else:
            apart = (self.tones - colour.to(self.tones)).norm(dim=-1).amin(1)  # type: ignore[operator, arg-type]
            palettes = apart.argsort(descending=True)[: -(-len(typical) // 2)].tolist()
        return nn.functional.normalize(typical[palettes[seed % len(palettes)]], dim=0)[None].to(user)

    def _likely(self, user: Tensor) -> list[list[int]]:
        """The palettes and the backdrops that are about as likely as the likeliest, this one first."""
        count = len(self.typical)  # type: ignore[arg-type]
        each = self.scores(user[0].float()).split([count, self.scores.out_features - count])
        orders = [(scores, scores.argsort(descending=True).tolist()) for scores in each]
        return [[n for n in order if scores[n] >= NEAR * scores[order[0]]] or order[:1] for scores, order in orders]

    @torch.no_grad()
    def fit(self, users: Tensor, favourite: Tensor, typical: Tensor, tones: Tensor) -> None:
        """users (N, U) and the palette and backdrop that each likes best, `favourite` (N, 2); `typical` and `tones` as of the class."""
        counts = typical.shape[:2]
        targets = torch.cat(
            [nn.functional.one_hot(favourite[:, n], count) for n, count in enumerate(counts)], 1
        ).double()
        weight, bias = ridge(users, targets, RIDGE)
        self.scores.weight.copy_(weight)
        self.scores.bias.copy_(bias)
        self.typical.copy_(typical)  # type: ignore[operator]
        self.tones.copy_(tones)  # type: ignore[operator]


def ridge(users: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Weight (K, U) and bias (K,) of the ridge regression of `targets` (N, K) on `users` (N, U)."""
    x, mean, base = users.double(), users.double().mean(0), targets.mean(0)
    gram = (x - mean).T @ (x - mean) + strength * torch.eye(x.shape[1], dtype=torch.float64)
    slopes = torch.linalg.solve(gram, (x - mean).T @ (targets - base))
    return slopes.T, base - mean @ slopes
