"""The palettes of covers, and the tones that a ground draws with. Knows no pattern."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PALETTES: dict[str, tuple[str, str, str, str]] = {
    # name: (ground a, ground b, accent, ink)
    "sunset": ("#ff9175", "#ffcf93", "#f05c78", "#5b1a3a"),
    "ocean": ("#2f93cd", "#94d7e8", "#1a5fab", "#0b2545"),
    "forest": ("#6faa62", "#d2e3a6", "#3d834b", "#17361f"),
    "candy": ("#ff9ecb", "#ffdcec", "#c77dff", "#5a189a"),
    "night": ("#2b2d5b", "#4b3f8f", "#1b1b3a", "#f6e7c1"),
    "desert": ("#dfbd8b", "#f5e6c6", "#c28558", "#5c3317"),
    "mono": ("#cdd0d4", "#f1f1f0", "#999fa8", "#1d1f24"),
    "lemon": ("#ffdd55", "#fff2ae", "#ffb703", "#3d2c00"),
    "berry": ("#d94a80", "#f7a1b0", "#a3286c", "#3d0a24"),
    "mint": ("#86dfbf", "#d0f5e6", "#2fb1a6", "#0d4238"),
    "terracotta": ("#b55c40", "#d99873", "#873733", "#3b1710"),
    "plum": ("#9363b0", "#d6b0dc", "#5b3a94", "#2a1140"),
    "teal": ("#25928f", "#8ad1bb", "#145d72", "#06302f"),
    "sky": ("#98baff", "#e2e8ff", "#6f86f0", "#142a66"),
}
WHITE = np.full(3, 255, np.float32)


@dataclass(frozen=True, eq=False)
class Tones:
    """The colours of a palette and those between them, each (3,) float32 in 0..255.

    `b` is lighter than `a`; `deep` lies between `a` and `accent`, `mid` between `a` and `b`; `pale` is `b` in the light, `glow` the light
    itself, `dark` the darkest.
    """

    a: np.ndarray
    b: np.ndarray
    accent: np.ndarray
    ink: np.ndarray
    mid: np.ndarray
    deep: np.ndarray
    pale: np.ndarray
    glow: np.ndarray
    dark: np.ndarray

    @classmethod
    def of(cls, palette: str) -> Tones:
        """The tones of a palette of PALETTES."""
        a, b, accent, ink = (rgb(code) for code in PALETTES[palette])
        mid, deep = mix(a, b, 0.5), mix(a, accent, 0.55)
        if ink.mean() > b.mean():  # a dark palette, whose ink is its light
            return cls(a, b, accent, ink, mid, deep, np.minimum(b * 1.35, 255), ink, accent * np.float32(0.7))
        return cls(a, b, accent, ink, mid, deep, mix(b, WHITE, 0.5), mix(b, WHITE, 0.75), ink)


def rgb(code: str) -> np.ndarray:
    """#rrggbb -> (3,) float32 in 0..255."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32)


def mix(a: np.ndarray, b: np.ndarray, t: float | np.ndarray) -> np.ndarray:
    """`a` and `b` (3,); t a number -> (3,), t (H, W) -> (H, W, 3): a where t is 0, b where it is 1."""
    share = t[..., None] if isinstance(t, np.ndarray) else np.float32(t)
    return a + (b - a) * share
