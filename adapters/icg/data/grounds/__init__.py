"""Grounds: what a cover shows behind its subject, in a palette and a backdrop. Deterministic; knows no subject, user or model.

All lengths are shares of the side, so a ground is the same picture at every size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from icg.data.grounds.canvas import Canvas
from icg.data.grounds.colours import PALETTES, Tones
from icg.data.grounds.cuttings import leaves, paper, shapes
from icg.data.grounds.light import Light, finish
from icg.data.grounds.patterns import bokeh, checks, dots, gradient, sunburst, terrazzo, waves
from icg.data.grounds.scenes import city, hills, room, stars
from icg.errors import IcgError

Painter = Callable[[Canvas, Tones, Light, np.random.Generator], None]
_PAINTERS: dict[str, Painter] = {
    "gradient": gradient,
    "sunburst": sunburst,
    "dots": dots,
    "waves": waves,
    "hills": hills,
    "paper": paper,
    "terrazzo": terrazzo,
    "bokeh": bokeh,
    "checks": checks,
    "leaves": leaves,
    "city": city,
    "stars": stars,
    "shapes": shapes,
    "room": room,
}
BACKDROPS: tuple[str, ...] = tuple(_PAINTERS)
LEAST, MOST = 16, 2048


def ground(palette: str, backdrop: str, seed: int, side: int) -> Image.Image:
    """A bare ground, (side, side) RGB. The seed varies the light's direction, phases, counts and sizes; palettes share them.

    Raises IcgError for an unknown palette or backdrop, a negative seed, or a side outside LEAST..MOST.
    """
    if palette not in PALETTES:
        raise IcgError(f"palette={palette!r}; allowed: {', '.join(PALETTES)}")
    if backdrop not in _PAINTERS:
        raise IcgError(f"backdrop={backdrop!r}; allowed: {', '.join(BACKDROPS)}")
    if seed < 0:
        raise IcgError(f"seed={seed}; allowed: 0 or more")
    if not LEAST <= side <= MOST:
        raise IcgError(f"side={side}; allowed: {LEAST}..{MOST}")
    rng = np.random.default_rng((seed, BACKDROPS.index(backdrop)))
    canvas, tones, light = Canvas(side), Tones.of(palette), Light.of(rng)
    _PAINTERS[backdrop](canvas, tones, light, rng)
    return Image.fromarray(finish(canvas, tones, light, rng))
