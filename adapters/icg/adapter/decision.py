"""Which palette and backdrop a ground is drawn in: those that a linear reading of the user finds likeliest. Knows no picture.

A user of two minds, as a few events make most, asks the denoiser for a mean of two grounds, which is a smear. A typical user who likes one
palette and one backdrop takes their place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

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

    def ground(self, user: Tensor) -> Tensor:
        """A user (1, U) -> the typical user (1, U) of the likeliest palette and backdrop; zeros, nobody, stay zeros."""
        palette, backdrop = self._likeliest(user)
        typical: Tensor = self.typical[palette, backdrop][None]  # type: ignore[index]
        return typical.to(user) if bool(user.any()) else user

    def studio(self, user: Tensor, seed: int, colour: Tensor) -> Tensor:
        """A user (1, U) -> who likes the likeliest palette and nothing else (1, U). For zeros, nobody, the seed chooses a palette, of the
        half from which a product of this mean `colour` (3,), 0..255, stands out more."""
        palettes: Tensor = self.typical.mean(1)  # type: ignore[operator]
        if bool(user.any()):
            palette = self._likeliest(user)[0]
        else:
            apart = (self.tones - colour.to(self.tones)).norm(dim=-1).amin(1)  # type: ignore[operator, arg-type]
            clear = apart.argsort(descending=True)[: -(-len(palettes) // 2)]
            palette = int(clear[seed % len(clear)])
        return nn.functional.normalize(palettes[palette], dim=0)[None].to(user)

    def _likeliest(self, user: Tensor) -> tuple[int, int]:
        scores, palettes = self.scores(user[0].float()), len(self.typical)  # type: ignore[arg-type]
        return int(scores[:palettes].argmax()), int(scores[palettes:].argmax())

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
