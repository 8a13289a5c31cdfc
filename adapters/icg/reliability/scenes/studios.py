"""Studios: a fixed number of bare places with props of known size and room for one product, in the tones of a palette.

A small denoiser learns these by heart and draws them sharp; scenes made up anew for each product it draws as mud (docs/log.md). A studio
has a scale: a product of known height is as large in it as it would be beside its props.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from icg.data.art import Subject
from icg.data.grounds.canvas import Canvas, smooth
from icg.data.grounds.colours import PALETTES, Tones, mix
from icg.data.grounds.scenes import stage, sun, window
from icg.data.sizes import SIZES, held_out
from icg.errors import IcgError
from icg.reliability.scenes import staging
from icg.reliability.scenes.ground import Place

HEIGHTS = (0.08, 0.14, 0.24, 0.42, 0.72, 1.25, 2.1, 3.8, 7.5)
"""Metres of the products that each kind of studio is for: the next kind's are some 1.8 times as high."""
LAYOUTS = 2
"""Studios of each kind."""
COUNT = len(HEIGHTS) * LAYOUTS
SHARE = 0.44
"""Of the side that a product of the kind's height fills."""
HORIZON, FOOT = 0.3, 0.86
BLACK = (0.0, 0.0, 0.0)
KINDS = {"table": (0, 0.45), "room": (0.45, 1.8), "street": (1.8, 99)}
"""Place -> metres of its products."""


class Spot(NamedTuple):
    """`metres`: height of the products that a studio is for. x, foot: where such a product stands, and `metre`: the length of a metre
    there, in shares of the side."""

    metres: float
    x: float
    foot: float
    metre: float


def spot(index: int) -> Spot:
    """The spot of one of COUNT studios."""
    return Spot(HEIGHTS[index // LAYOUTS], 0.5, FOOT, SHARE / HEIGHTS[index // LAYOUTS])


@dataclass(frozen=True)
class StudioPlace(Place):
    """A place in the tones of a palette: a table or a room before a wall with a window's light, or a street before hills."""

    palette: str = "mono"
    kind: str = "table"
    way: float = 1.0

    @classmethod
    def any(cls, kind: str, rng: np.random.Generator) -> StudioPlace:
        """A random one of this kind."""
        horizon, palette = float(rng.uniform(0.16, 0.34)), str(rng.choice(list(PALETTES)))
        edge, way = horizon + float(rng.uniform(0.1, 0.3)), float(rng.choice((-1, 1)))
        return cls(horizon, edge, "plain", "plain", BLACK, BLACK, palette, kind, way)

    def draw(self, rng: np.random.Generator, side: int) -> np.ndarray:
        """(side, side, 3) float32, 0..255."""
        canvas, tones = Canvas(side), Tones.of(self.palette)
        (_street if self.kind == "street" else _wall)(canvas, tones, self)
        stage(canvas, tones, self.edge, self.way, skirting=self.kind == "room")
        if self.kind == "street":
            canvas.paint(0.5 * canvas.cover(0.006 - np.abs(canvas.y - 0.95)), tones.pale)
        return canvas.rgb.clip(0, 255)


def picture(index: int, palette: str, subjects: Sequence[Subject], side: int) -> Image.Image:
    """RGB (side, side): one of COUNT studios in a palette. Its props are `subjects` of known size that no held-out scene has.

    Raises IcgError if there are fewer than two props for it.
    """
    metres, layout = HEIGHTS[index // LAYOUTS], index % LAYOUTS
    kind = next(name for name, (least, most) in KINDS.items() if least <= metres < most)
    rng = np.random.default_rng((7, index))
    edge = {"table": 0.58, "room": 0.6, "street": 0.62}[kind] + 0.03 * layout
    place = StudioPlace(HORIZON, edge, "plain", "plain", BLACK, BLACK, palette, kind, -1.0 if layout else 1.0)
    scene, here = staging.Stage(place, rng, side), spot(index)
    for prop in _props(place, here, subjects, kind, rng):
        scene.put(prop)
    return scene.picture()


HIGH, WIDE = (0.1, 0.42), (0.05, 0.25)
"""Ranges of a prop's height and width, in shares of the side."""
FREE = (0.29, 0.71)
"""No prop stands between these columns."""


def _props(
    place: Place,
    here: Spot,
    subjects: Sequence[Subject],
    kind: str,
    rng: np.random.Generator,
) -> list[staging.Item]:
    """Two or three props of true size at both sides of the product's spot, the most distant first."""
    metre = here.metre / float(place.disparity(here.foot))
    sizes = SIZES[kind]
    known = [s for s in subjects if s.title in sizes and not held_out(s.title) and not s.held_out]
    props: list[staging.Item] = []
    for subject in (known[int(i)] for i in rng.permutation(len(known))):
        sprite = staging.cropped(subject.sprites["3d"])
        for _ in range(8):
            foot = float(rng.uniform(place.edge + 0.05, here.foot - 0.03))
            height = metre * sizes[subject.title] * float(place.disparity(foot))
            half = height * sprite.shape[1] / sprite.shape[0] / 2
            if not (HIGH[0] < height < HIGH[1] and WIDE[0] < 2 * half < WIDE[1]):
                continue
            middle = float(rng.uniform(0.02 + half, FREE[0] - half))
            prop = staging.Item(sprite, foot, middle if len(props) % 2 == 0 else 1 - middle, height)
            if all(_apart(prop, other) for other in props):
                props.append(prop)
                break
        if len(props) == 3:
            break
    if len(props) < 2:
        raise IcgError(f"subjects={len(subjects)} with {len(known)} for a {kind}; allowed: two props or more")
    return sorted(props, key=lambda prop: prop.foot)


def _apart(prop: staging.Item, other: staging.Item) -> bool:
    return abs(prop.x - other.x) > (prop.width + other.width) / 2 + 0.01


def _wall(canvas: Canvas, tones: Tones, place: StudioPlace) -> None:
    """A wall with a window's light on it."""
    lit = 0.5 + place.way * (canvas.x - 0.5)
    canvas.rgb[:] = mix(tones.mid, tones.b, smooth(1 - lit, 0.0, 1.0))
    window(canvas, tones, place.way, 0.5 - place.way * 0.16, top=0.04, pane=0.19, slant=0.3)


def _street(canvas: Canvas, tones: Tones, place: StudioPlace) -> None:
    """Sky with a pale sun, and two ranges of hills."""
    canvas.rgb[:] = mix(tones.mid, tones.pale, smooth(canvas.y, 0.0, 0.6))
    sun(canvas, tones, 0.5 - place.way * 0.24, 0.2, 0.07)
    x = canvas.x[0]
    for n, share in ((0, 0.5), (1, 0.85)):
        curve = place.edge - (0.1, 0.05)[n] + (0.045, 0.03)[n] * np.sin(x * (5, 8)[n] + place.way * (1, 2)[n])
        canvas.paint(canvas.below(curve), mix(tones.b, tones.a, share))
