"""The connector: refined meta tokens become the conditioning of a diffusion model. Knows nothing about users.

Bidirectional transformer layers, then Linear-GELU-Linear-RMSNorm to the family's caption width (MetaQueries,
arXiv:2504.06256). `icg.models.families` defines the conditioning of each diffusion family.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from icg.models.families import ConditioningSpec


class Connector(nn.Module):
    """(B, M, D) -> prompt_embeds (B, M, spec.width) and pooled (B, spec.pooled), None for a family without it.

    places: M for a vector of its own for each token, zeros at first; 0 for none.
    """

    def __init__(self, width: int, spec: ConditioningSpec, layers: int = 2, heads: int = 4, places: int = 0) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(places, width)) if places else None
        layer = nn.TransformerEncoderLayer(width, heads, width * 3, 0.0, "gelu", batch_first=True, norm_first=True)
        self.mix = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Sequential(
            nn.Linear(width, spec.width), nn.GELU(), nn.Linear(spec.width, spec.width), nn.RMSNorm(spec.width)
        )
        self.pooled = nn.Linear(width, spec.pooled) if spec.pooled else None

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """tokens (B, M, D)."""
        mixed = self.mix(tokens if self.places is None else tokens + self.places)
        pooled = self.pooled(mixed.mean(1)) if self.pooled is not None else None
        return self.out(mixed), pooled

    @torch.no_grad()
    def scale(self, deviation: float) -> None:
        """Let prompt_embeds have this root mean square, that of the text encoder which the denoiser was trained with."""
        self.out[-1].weight.fill_(deviation)
