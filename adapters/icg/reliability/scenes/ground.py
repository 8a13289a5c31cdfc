"""Places of drawn scenes: a ground that recedes to a horizon, a wall or sky behind it, textured or plain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TEXTURES = ("plain", "planks", "tiles", "grain")
WALLS = ("plain", "stripes", "spots", "fade")


@dataclass(frozen=True)
class Place:
    """Rows count from the top, in shares of the side: the `horizon` at eye level, and the ground's `edge` at or below it."""

    horizon: float
    edge: float
    texture: str
    wall: str
    ground: tuple[float, float, float]
    behind: tuple[float, float, float]

    @classmethod
    def random(cls, rng: np.random.Generator, near: np.ndarray | None = None) -> Place:
        """A random place; its colours are close to `near` (3,), 0..255, unless that is None."""
        horizon = float(rng.uniform(0.12, 0.34))
        colours = [rng.uniform(70, 245, 3) for _ in range(2)]
        if near is None:
            # Real rooms and streets are paler than these colours.
            colours = [c * 0.55 + c.mean() * 0.45 for c in colours]
        else:
            colours = [np.clip(near + rng.normal(0, 7, 3), 0, 255) for _ in range(2)]
        edge = horizon + float(rng.uniform(0.06, 0.22))
        texture, wall = str(rng.choice(TEXTURES)), str(rng.choice(WALLS))
        return cls(horizon, edge, texture, wall, _three(colours[0]), _three(colours[1]))

    def disparity(self, rows: np.ndarray | float) -> np.ndarray:
        """Nearness of the ground at a row: 0 at the horizon, 1 at the lower edge; above the ground's edge that of the wall."""
        down = np.maximum(rows, self.edge)
        return np.asarray((down - self.horizon) / (1 - self.horizon), np.float32)

    def draw(self, rng: np.random.Generator, side: int) -> np.ndarray:
        """(side, side, 3) float32, 0..255."""
        y, x = (np.mgrid[0:side, 0:side].astype(np.float32) + 0.5) / side
        near = np.maximum(y - self.horizon, 1e-3)
        u, v = (x - 0.5) / near, 1 / near  # ground plane: sideways and away
        ground = self._ground(rng, u, v, near)
        wall = self._wall(rng, x, y)
        picture = np.where((y >= self.edge)[..., None], ground, wall)
        grain = rng.normal(0, 2.5, (side, side, 1))
        return np.clip(picture + grain, 0, 255).astype(np.float32)

    def _ground(self, rng: np.random.Generator, u: np.ndarray, v: np.ndarray, near: np.ndarray) -> np.ndarray:
        base = np.array(self.ground) * (0.82 + 0.18 * near / (1 - self.horizon))[..., None]
        # A distant texture is finer than a pixel: it fades instead of flickering.
        depth = np.clip(near * 6 - 0.4, 0, 1)[..., None]
        size, shift = rng.uniform(0.35, 0.8), rng.uniform(0, 1)
        if self.texture == "planks":
            mark = (np.abs((u / size + shift) % 1 - 0.5) > 0.46)[..., None] * -38.0
        elif self.texture == "tiles":
            mark = ((np.floor(u / size + shift) + np.floor(v / size)) % 2)[..., None] * -24.0
        elif self.texture == "grain":
            mark = (np.sin(u * 31 + 3 * np.sin(v * 7)) * np.sin(v * 23))[..., None] * 16.0
        else:
            mark = np.zeros((*u.shape, 1))
        return base + mark * depth

    def _wall(self, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        base = np.broadcast_to(np.array(self.behind), (*x.shape, 3))
        size, shift = rng.uniform(0.08, 0.2), rng.uniform(0, 1)
        if self.wall == "stripes":
            return base + (np.sin((x / size + shift) * 2 * np.pi) > 0)[..., None] * -16.0
        if self.wall == "spots":
            u, v = (x / size + shift) % 1 - 0.5, (y / size) % 1 - 0.5
            return base + (u * u + v * v < 0.06)[..., None] * -24.0
        if self.wall == "fade":
            return base + (20 - 50 * y)[..., None]
        return base


def _three(colour: np.ndarray) -> tuple[float, float, float]:
    r, g, b = (float(c) for c in colour)
    return r, g, b
