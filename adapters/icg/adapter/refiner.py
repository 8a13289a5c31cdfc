"""The refiner: meta tokens attend to the user embedding. Knows nothing about how either was computed.

Cross-attention (arXiv:1706.03762) whose result is multiplied by strength x min(1, ||user||): a zero user embedding, or strength 0,
leaves the tokens unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Refiner(nn.Module):
    """`width`: of the tokens. `user`: width of the user embedding, which becomes `slots` keys and values."""

    def __init__(self, width: int, user: int = 64, slots: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.slots = slots
        self.spread = nn.Sequential(nn.Linear(user, width), nn.GELU(), nn.Linear(width, width * slots))
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def silence(self) -> None:
        """Set the output layers to zero: no token changes, and the refiner can still learn."""
        for layer in (self.attend.out_proj, self.mlp[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, user: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """tokens (B, M, D), user (B, U), strength (B,) or a number in [0, 1] -> (B, M, D)."""
        keys = self.spread(user * user.shape[-1] ** 0.5).unflatten(-1, (self.slots, -1))
        attended, _ = self.attend(self.norm(tokens), keys, keys, need_weights=False)
        change = attended + self.mlp(tokens + attended)
        gate = torch.as_tensor(strength, dtype=tokens.dtype) * user.norm(dim=-1).clamp(max=1)
        return tokens + gate.reshape(-1, 1, 1) * change
