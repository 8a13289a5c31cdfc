"""The connector: refined meta tokens become the conditioning of a diffusion model. Knows nothing about users.

Bidirectional transformer layers, then Linear-GELU-Linear-RMSNorm to the family's caption width (MetaQueries,
arXiv:2504.06256). A spec per diffusion family says what the tokens must become.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from icg.errors import CheckpointError


@dataclass(frozen=True)
class ConditioningSpec:
    """`width` of prompt_embeds; `pooled` width of pooled_prompt_embeds, 0 where the family has none."""

    width: int
    pooled: int = 0


SPECS: dict[str, ConditioningSpec] = {
    "sd1": ConditioningSpec(768),
    "sd2": ConditioningSpec(1024),
    "sdxl": ConditioningSpec(2048, 1280),
    "sd3": ConditioningSpec(4096, 2048),
    "flux": ConditioningSpec(4096, 768),
}


def spec_of(denoiser: Any) -> ConditioningSpec:
    """The spec of a loaded denoiser, read from its config (Sana, PixArt: `caption_channels`)."""
    config = denoiser.config
    for name in ("caption_channels", "joint_attention_dim", "cross_attention_dim"):
        width = getattr(config, name, None)
        if isinstance(width, int):
            return ConditioningSpec(width, int(getattr(config, "pooled_projection_dim", 0) or 0))
    raise CheckpointError(
        f"diffusion={type(denoiser).__name__}: no caption width in its config; allowed: {sorted(SPECS)}"
    )


class Connector(nn.Module):
    """(B, M, D) -> prompt_embeds (B, M, spec.width) and, where the family wants one, pooled (B, spec.pooled)."""

    def __init__(self, width: int, spec: ConditioningSpec, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, width * 3, 0.0, "gelu", batch_first=True, norm_first=True)
        self.mix = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Sequential(
            nn.Linear(width, spec.width), nn.GELU(), nn.Linear(spec.width, spec.width), nn.RMSNorm(spec.width)
        )
        self.pooled = nn.Linear(width, spec.pooled) if spec.pooled else None

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """tokens (B, M, D)."""
        mixed = self.mix(tokens)
        pooled = self.pooled(mixed.mean(1)) if self.pooled is not None else None
        return self.out(mixed), pooled


__all__ = ["SPECS", "ConditioningSpec", "Connector", "spec_of"]
