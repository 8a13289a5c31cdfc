"""Products outside all training data: six objects drawn here, with shapes and colours of their own, in many pictures.

Deterministic for names and seeds. Knows no model. They replace a shop's photographs in studies.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from icg.data.compose import BACKDROPS, PALETTES, Look, compose

SIDE = 256
STRIDE = 8
"""Backgrounds between one seed and the next: so many pictures share none."""
FLAT = tuple((palette, backdrop) for palette in PALETTES for backdrop in BACKDROPS)


@dataclass(frozen=True)
class Thing:
    """`kind`: its class, in words. `drawing`: SVG on a 100 x 100 canvas."""

    id: str
    kind: str
    drawing: str


def _stripes(colours: tuple[str, ...], top: float, height: float, left: float = 0, width: float = 100) -> str:
    return "".join(
        f'<rect x="{left}" y="{top + n * height}" width="{width}" height="{height}" fill="{colour}"/>'
        for n, colour in enumerate(colours)
    )


def _clipped(shape: str, inside: str, outline: str, name: str) -> str:
    return (
        f'<clipPath id="{name}">{shape}</clipPath><g clip-path="url(#{name})">{inside}</g>'
        f'<g fill="none" stroke="{outline}" stroke-width="2.5" stroke-linejoin="round">{shape}</g>'
    )


def _zigzag(y: float, colour: str, width: float = 4) -> str:
    points = " ".join(f"{x},{y + (5 if n % 2 else -5)}" for n, x in enumerate(range(0, 105, 8)))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _dots(colour: str, radius: float, step: int) -> str:
    return "".join(
        f'<circle cx="{x + (step / 2 if row % 2 else 0)}" cy="{y}" r="{radius}" fill="{colour}"/>'
        for row, y in enumerate(range(5, 100, step))
        for x in range(0, 105, step)
    )


THINGS: tuple[Thing, ...] = (
    Thing(
        "zigzag-teapot",
        "teapot",
        '<path d="M22 48 C6 38 6 74 24 70" fill="none" stroke="#0f4c3a" stroke-width="7"/>'
        '<path d="M74 58 L96 34 L90 30 L72 46 Z" fill="#12876a" stroke="#0f4c3a" stroke-width="2.5"/>'
        + _clipped(
            '<path d="M20 60 C20 34 80 34 80 60 C80 88 66 90 50 90 C34 90 20 88 20 60 Z"/>',
            '<rect width="100" height="100" fill="#19b38c"/>' + _zigzag(58, "#ffd23f", 6) + _zigzag(74, "#ffffff"),
            "#0f4c3a",
            "a",
        )
        + '<path d="M34 40 C38 28 62 28 66 40 Z" fill="#ffd23f" stroke="#0f4c3a" stroke-width="2.5"/>'
        '<circle cx="50" cy="26" r="6" fill="#e4572e" stroke="#0f4c3a" stroke-width="2.5"/>',
    ),
    Thing(
        "star-backpack",
        "backpack",
        '<path d="M36 22 C36 4 64 4 64 22" fill="none" stroke="#2d1457" stroke-width="6"/>'
        '<rect x="10" y="46" width="14" height="34" rx="6" fill="#ff8c1a" stroke="#2d1457" stroke-width="2.5"/>'
        '<rect x="76" y="46" width="14" height="34" rx="6" fill="#ff8c1a" stroke="#2d1457" stroke-width="2.5"/>'
        '<path d="M20 94 L20 44 C20 10 80 10 80 44 L80 94 Z" fill="#6a2fb5" stroke="#2d1457" stroke-width="2.5"/>'
        '<path d="M50 22 L55 36 L70 36 L58 45 L62 59 L50 50 L38 59 L42 45 L30 36 L45 36 Z" fill="#ffe14d" stroke="#2d1457" '
        'stroke-width="2"/>'
        '<rect x="28" y="64" width="44" height="26" rx="5" fill="#ff8c1a" stroke="#2d1457" stroke-width="2.5"/>'
        '<path d="M28 73 H72" stroke="#2d1457" stroke-width="2.5"/>',
    ),
    Thing(
        "box-robot",
        "robot",
        '<path d="M50 20 V8" stroke="#3b1f12" stroke-width="4"/><circle cx="50" cy="7" r="6" fill="#38e1ff"/>'
        '<rect x="24" y="18" width="52" height="36" rx="4" fill="#e0402f" stroke="#3b1f12" stroke-width="2.5"/>'
        '<circle cx="38" cy="34" r="8" fill="#38e1ff" stroke="#3b1f12" stroke-width="2.5"/>'
        '<rect x="54" y="27" width="15" height="14" fill="#fff27a" stroke="#3b1f12" stroke-width="2.5"/>'
        '<path d="M34 47 H66" stroke="#3b1f12" stroke-width="3"/>'
        '<rect x="30" y="56" width="40" height="28" fill="#f7f3e8" stroke="#3b1f12" stroke-width="2.5"/>'
        '<path d="M50 62 L58 70 L50 78 L42 70 Z" fill="#e0402f"/>'
        '<rect x="14" y="58" width="14" height="8" fill="#e0402f" stroke="#3b1f12" stroke-width="2.5"/>'
        '<rect x="72" y="58" width="14" height="8" fill="#e0402f" stroke="#3b1f12" stroke-width="2.5"/>'
        '<rect x="34" y="84" width="10" height="12" fill="#3b1f12"/><rect x="56" y="84" width="10" height="12" fill="#3b1f12"/>',
    ),
    Thing(
        "ringed-rocket",
        "rocket",
        '<path d="M32 62 L14 88 L36 82 Z" fill="#1746a2" stroke="#10214d" stroke-width="2.5"/>'
        '<path d="M68 62 L86 88 L64 82 Z" fill="#1746a2" stroke="#10214d" stroke-width="2.5"/>'
        + _clipped(
            '<path d="M50 4 C74 24 72 62 64 86 L36 86 C28 62 26 24 50 4 Z"/>',
            _stripes(("#ff4f9a", "#ffffff", "#ff4f9a", "#ffffff", "#ff4f9a", "#ffffff", "#ff4f9a"), 2, 12.5),
            "#10214d",
            "b",
        )
        + '<circle cx="50" cy="42" r="10" fill="#9be7ff" stroke="#1746a2" stroke-width="5"/>'
        '<path d="M42 88 L50 99 L58 88 Z" fill="#ffb400"/>',
    ),
    Thing(
        "dotted-handbag",
        "handbag",
        '<path d="M30 44 C30 2 70 2 70 44" fill="none" stroke="#7a4a1e" stroke-width="6"/>'
        + _clipped(
            '<path d="M16 42 L84 42 L94 92 L6 92 Z"/>',
            '<rect width="100" height="100" fill="#123c69"/>' + _dots("#f6f4ee", 4.2, 15),
            "#0a1f38",
            "c",
        )
        + '<path d="M16 42 L84 42 L80 58 L20 58 Z" fill="#c77b30" stroke="#0a1f38" stroke-width="2.5"/>'
        '<rect x="43" y="51" width="14" height="13" rx="2" fill="#ffd95a" stroke="#0a1f38" stroke-width="2.5"/>',
    ),
    Thing(
        "checked-guitar",
        "guitar",
        '<rect x="46" y="2" width="8" height="50" fill="#f2c14e" stroke="#2a1a0a" stroke-width="2"/>'
        '<rect x="42" y="0" width="16" height="12" rx="2" fill="#20bf55" stroke="#2a1a0a" stroke-width="2"/>'
        + _clipped(
            '<path d="M50 40 C74 40 66 54 70 60 C86 70 80 98 50 98 C20 98 14 70 30 60 C34 54 26 40 50 40 Z"/>',
            '<rect width="100" height="100" fill="#20bf55"/>'
            + "".join(
                f'<rect x="{x}" y="{y}" width="12" height="12" fill="#0b0b0b"/>'
                for x in range(0, 100, 12)
                for y in range(2, 100, 12)
                if (x // 12 + y // 12) % 2
            ),
            "#2a1a0a",
            "d",
        )
        + '<circle cx="50" cy="68" r="9" fill="#f2c14e" stroke="#2a1a0a" stroke-width="2.5"/>'
        '<rect x="38" y="84" width="24" height="5" fill="#f2c14e"/>',
    ),
)


@cache
def cut_out(thing: Thing) -> Image.Image:
    """RGBA, SIDE pixels a side."""
    import resvg_py

    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 108 108">{thing.drawing}</svg>'
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
