"""Where the light comes from, and the last touch that every ground gets: light, shade and grain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icg.data.grounds.canvas import Canvas, smooth
from icg.data.grounds.colours import Tones

FROM = ((-0.8, -0.6), (0.8, -0.6), (0.0, -1.0))
"""Left, right and top: unit vectors towards the light."""
GRAIN = 1.3
"""Standard deviation of the grain, in levels of 255."""


@dataclass(frozen=True)
class Light:
    """(`x`, `y`) is a unit vector towards the light; y is downwards, so it is negative."""

    x: float
    y: float

    @classmethod
    def of(cls, rng: np.random.Generator) -> Light:
        """From the left, the right or above."""
        return cls(*FROM[int(rng.integers(len(FROM)))])

    def along(self, canvas: Canvas) -> np.ndarray:
        """(side, side): 0 at the far side, 0.5 in the middle, 1 at the lit side; corners lie a little beyond."""
        return 0.5 + (canvas.x - 0.5) * np.float32(self.x) + (canvas.y - 0.5) * np.float32(self.y)

    def point(self, distance: float) -> tuple[float, float]:
        """x and y of a point `distance` from the middle, towards the light."""
        return 0.5 + self.x * distance, 0.5 + self.y * distance


def finish(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> np.ndarray:
    """The picture as (side, side, 3) uint8: lighter towards the light, darker away from it, with grain."""
    lean = light.along(canvas)
    canvas.paint(0.22 * smooth(lean, 0.55, 1.2), tones.pale)
    canvas.paint(0.10 * smooth(lean, 0.45, -0.2), tones.accent * np.float32(0.6))
    canvas.rgb += rng.standard_normal((canvas.side, canvas.side, 1), np.float32) * np.float32(GRAIN)
    return np.clip(canvas.rgb + 0.5, 0, 255).astype(np.uint8)
