"""What one denoiser call takes: rows of any number of covers. Knows no request and no model."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Rows(NamedTuple):
    """x (B, C, h, w), t (B,), embeds (B, M, W), pooled (B, P) or None, hint (B, ...) or None, guidance (B,) or None."""

    x: Tensor
    t: Tensor
    embeds: Tensor
    pooled: Tensor | None
    hint: Tensor | None = None
    guidance: Tensor | None = None

    def of(self, part: slice) -> Rows:
        """Some of them."""
        return Rows(*(None if value is None else value[part] for value in self))  # type: ignore[arg-type]
