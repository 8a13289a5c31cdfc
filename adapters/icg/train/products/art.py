"""Products outside all training data: six objects drawn here, with shapes and colours of their own, in many pictures.

Deterministic for names and seeds. Knows no model. They replace a shop's photographs in studies.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from icg.data.compose import BACKDROPS, PALETTES, Look, compose

SIDE = 256
STRIDE = 8
"""Backgrounds between one seed and the next: so many pictures share none."""
FLAT = tuple((palette, backdrop) for palette in PALETTES for backdrop in BACKDROPS)


@dataclass(frozen=True)
class Thing:
    """An object, drawn in things/<id>.svg. The last word of `id` is its class."""

    id: str

    @property
    def kind(self) -> str:
        """The class, in words."""
        return self.id.rpartition("-")[2]


NAMES = ("zigzag-teapot", "star-backpack", "box-robot", "ringed-rocket", "dotted-handbag", "checked-guitar")
THINGS = tuple(map(Thing, NAMES))


@cache
def cut_out(thing: Thing) -> Image.Image:
    """RGBA, SIDE pixels a side."""
    import resvg_py

    svg = (Path(__file__).parent / "things" / f"{thing.id}.svg").read_text()
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE))
    return Image.open(io.BytesIO(png)).convert("RGBA")


def ground(thing: Thing, number: int, seed: int) -> tuple[str, str]:
    """Palette and backdrop of picture `number` of a seed."""
    order = np.random.default_rng((99, THINGS.index(thing))).permutation(len(FLAT))
    return FLAT[order[(seed * STRIDE + number) % len(order)]]


def pictures(thing: Thing, count: int, seed: int = 0, side: int = 128) -> list[Image.Image]:
    """`count` pictures (side, side) RGB of the thing: slightly rotated, of varying size and position, each on another background.

    Another seed gives other backgrounds, as long as there are some: so held-out pictures differ.
    """
    result = []
    for n in range(count):
        rng = np.random.default_rng((seed, n, THINGS.index(thing)))
        palette, backdrop = ground(thing, n, seed)
        turned = cut_out(thing).rotate(float(rng.uniform(-10, 10)), Image.Resampling.BICUBIC)
        edge = round(SIDE * float(rng.uniform(0.72, 1.0)))
        small, sprite = turned.resize((edge, edge), Image.Resampling.LANCZOS), Image.new("RGBA", (SIDE, SIDE))
        room = SIDE - edge
        sprite.paste(small, (int(rng.integers(0, room + 1)), int(rng.integers(0, room + 1))))
        result.append(compose(np.asarray(sprite), Look("3d", palette, backdrop, "close"), seed * 1000 + n, side))
    return result
