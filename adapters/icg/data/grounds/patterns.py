"""Backdrops that repeat: each draws a pattern on a canvas in a palette's tones. They keep the middle calm, where the subject stands."""

from __future__ import annotations

import numpy as np

from icg.data.grounds.canvas import Canvas, smooth
from icg.data.grounds.colours import Tones, mix
from icg.data.grounds.light import Light


def gradient(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Two tones, a large soft glow on the lit side, and a breath of accent on the other."""
    lean = light.along(canvas) + rng.uniform(-0.08, 0.08)
    canvas.rgb[:] = mix(tones.deep, tones.b, smooth(lean, -0.15, 0.9))
    cx, cy = light.point(0.36 + rng.uniform(-0.05, 0.05))
    canvas.paint(0.75 * smooth(canvas.radius(cx, cy), 0.62, 0.0), tones.pale)
    cx, cy = light.point(-0.75 + rng.uniform(-0.1, 0.1))
    canvas.paint(0.4 * smooth(canvas.radius(cx, cy), 0.6, 0.0), tones.accent)


def sunburst(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Rays from the middle or the lower edge, with a glow at their source."""
    cx, cy = 0.5 + rng.uniform(-0.04, 0.04), 0.55 + rng.uniform(-0.06, 0.06)
    rays = int(rng.integers(9, 14))
    away = canvas.radius(cx, cy)
    angle = np.arctan2(canvas.y - cy, canvas.x - cx) + rng.uniform(0, np.pi)
    ray = canvas.cover(np.sin(angle * rays) * away / rays)
    canvas.rgb[:] = mix(tones.a, mix(tones.a, tones.deep, 0.6), smooth(away, 0.3, 0.8))
    canvas.paint(ray, mix(tones.mid, tones.b, 0.55))
    canvas.paint(0.8 * smooth(away, 0.46, 0.04), tones.pale)


def dots(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """A halftone: staggered dots that grow away from the light."""
    count, turn = rng.uniform(7, 9), rng.choice((0.0, np.pi / 12, -np.pi / 12))
    cos, sin = np.cos(turn) * count, np.sin(turn) * count
    u = canvas.x * cos - canvas.y * sin + rng.uniform()
    v = (canvas.x * sin + canvas.y * cos) / 0.866 + rng.uniform()
    row = np.floor(v)
    du, dv = (u + row * 0.5) % 1 - 0.5, (v - row - 0.5) * 0.866
    lean = light.along(canvas)
    size = (0.36 - 0.22 * smooth(lean, 0.0, 1.0)) / count
    canvas.rgb[:] = mix(mix(tones.mid, tones.b, 0.3), tones.b, smooth(lean, 0.1, 0.9))
    mask = canvas.cover(size - np.sqrt(du * du + dv * dv) / count)
    calm = 1 - 0.5 * smooth(canvas.radius(0.5, 0.52), 0.5, 0.2)
    canvas.paint(mask * calm, mix(tones.a, tones.deep, 0.55))


def waves(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Bands of water, one before the other, each lit at its crest."""
    bands = int(rng.integers(6, 8))
    length = rng.uniform(1.1, 1.7) * 2 * np.pi
    canvas.rgb[:] = tones.pale
    x = canvas.x[0]
    for n in range(bands):
        share = n / (bands - 1)
        height = 0.022 + 0.016 * share
        swell = np.sin(x * length + rng.uniform(0, 2 * np.pi)) + 0.35 * np.sin(x * length * 1.9 + rng.uniform(0, 6))
        curve = 0.99 * n / bands - 0.01 + rng.uniform(-0.012, 0.012) + height * swell
        body = mix(tones.b, tones.deep, share)
        depth = canvas.y - curve
        canvas.paint(0.28 * smooth(depth, -0.045, 0.0), mix(tones.deep, tones.dark, 0.1))
        canvas.paint(canvas.below(curve), mix(body, tones.pale, 0.5 * smooth(depth, 0.045, 0.0)))


def terrazzo(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Chips of stone on plaster, smaller and paler in the middle."""
    canvas.rgb[:] = mix(tones.b, tones.mid, 0.35)
    cells = 8
    groups: tuple[list[np.ndarray], ...] = ([], [], [])
    for place in range(cells * cells):
        at = (np.array((place % cells, place // cells)) + 0.5 + rng.uniform(-0.36, 0.36, 2)) / cells
        middle = np.hypot(*(at - (0.5, 0.52)))
        reach = rng.uniform(0.022, 0.058) * (0.75 if middle < 0.3 else 1.0)
        corners = int(rng.integers(4, 7))
        angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * (2 * np.pi / corners) + rng.uniform(0, 6)
        stretch = rng.uniform(0.7, 1.0, (corners, 1))
        chip = at + reach * stretch * np.stack([np.cos(angle), np.sin(angle)], 1)
        groups[int(rng.integers(3))].append(chip)
    calm = 1 - 0.6 * smooth(canvas.radius(0.5, 0.52), 0.46, 0.2)
    colours = (mix(tones.a, tones.deep, 0.3), mix(tones.deep, tones.accent, 0.6), tones.pale)
    for group, colour in zip(groups, colours, strict=True):
        canvas.paint(canvas.polygons(group) * calm, colour)


def bokeh(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Lights out of focus: large soft discs, most of them around the middle."""
    lean = light.along(canvas)
    canvas.rgb[:] = mix(tones.deep, tones.mid, smooth(lean, 0.0, 1.0))
    canvas.paint(0.35 * smooth(canvas.radius(0.5, 0.52), 0.5, 0.0), tones.b)
    count = 26
    for n in range(count):
        angle, far = 2 * np.pi * (n * 7 % count + rng.uniform(-0.4, 0.4)) / count, rng.uniform(0.34, 0.66)
        size, soft = rng.uniform(0.04, 0.13), rng.uniform(0.008, 0.05)
        cx, cy = 0.5 + far * np.cos(angle), 0.52 + far * np.sin(angle)
        tone = (tones.glow, tones.pale, tones.b)[n % 3]
        canvas.disc(cx, cy, size, tone, rng.uniform(0.2, 0.5), soft)
        canvas.disc(cx, cy, size * 0.86, mix(tones.a, tone, 0.5), 0.16, soft)


def checks(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Gingham, straight or on the bias."""
    count, bias = rng.uniform(4.5, 6), bool(rng.integers(2))
    turn = np.pi / 4 if bias else 0.0
    u = (canvas.x - 0.5) * np.cos(turn) - (canvas.y - 0.5) * np.sin(turn)
    v = (canvas.x - 0.5) * np.sin(turn) + (canvas.y - 0.5) * np.cos(turn)
    canvas.rgb[:] = mix(tones.b, tones.pale, 0.35)
    calm = 1 - 0.45 * smooth(canvas.radius(0.5, 0.52), 0.55, 0.2)
    tone = mix(tones.a, tones.deep, 0.35)
    for value in (u, v):
        band = canvas.cover((0.25 - np.abs((value * count + rng.uniform()) % 1 - 0.5)) / count)
        canvas.paint(band * calm * np.float32(0.45), tone)
