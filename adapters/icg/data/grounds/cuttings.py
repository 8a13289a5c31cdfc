"""Backdrops cut from paper: layers with shadows, foliage, and large abstract shapes. They frame the middle."""

from __future__ import annotations

import numpy as np

from icg.data.grounds.canvas import Canvas, smooth
from icg.data.grounds.colours import Tones, mix
from icg.data.grounds.light import Light


def paper(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Sheets with a hole each, one above the other: the lightest lies deepest, and each casts a shadow on the next."""
    layers = 4
    dark = mix(tones.deep, tones.dark, 0.45)
    canvas.rgb[:] = mix(tones.b, tones.pale, 0.6)
    shift = 0.022
    places = [_polar(canvas, 0.0, 0.0), _polar(canvas, light.x * shift, light.y * shift)]
    for n in range(layers):
        waves = [(k, rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0) * 0.06 / k**0.7) for k in (2, 3, 5)]
        base = 0.34 + 0.072 * n
        sheet, shade = (
            away - base - sum(size * np.cos(k * angle + phase) for k, phase, size in waves) for away, angle in places
        )
        canvas.paint(0.34 * smooth(shade, -0.035, 0.02), dark)
        body = mix(tones.b, mix(tones.deep, tones.accent, 0.3), (n + 0.5) / (layers - 0.5))
        canvas.paint(canvas.cover(sheet), mix(body, tones.pale, 0.4))
        canvas.paint(canvas.cover(sheet - 0.007), body)


def _polar(canvas: Canvas, dx: float, dy: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance (in a rounded square's measure) and angle of each pixel, seen from the middle moved by (dx, dy)."""
    x, y = canvas.x - np.float32(0.5 - dx), canvas.y - np.float32(0.51 - dy)
    angle = np.arctan2(y, x)
    x, y = x * x, y * y
    return np.sqrt(np.sqrt(x * x + y * y)), angle


def leaves(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Sprigs that reach in from the corners, the paler behind."""
    canvas.rgb[:] = mix(tones.mid, tones.pale, smooth(canvas.radius(0.5, 0.5), 0.75, 0.0))
    corners = [(-0.04, -0.04), (1.04, -0.04), (-0.04, 1.04), (1.04, 1.04)]
    tone = (mix(tones.b, tones.a, 0.65), mix(tones.a, tones.deep, 0.7), mix(tones.deep, tones.accent, 0.75))
    for layer in range(3):
        blades: list[np.ndarray] = []
        veins: list[np.ndarray] = []
        for corner in corners:
            inward = np.arctan2(0.5 - corner[1], 0.5 - corner[0])
            turn = inward + (-0.62, 0.62, 0.0)[layer] + rng.uniform(-0.2, 0.2)
            _sprig(np.array(corner), turn, (0.62, 0.56, 0.40)[layer], rng, blades, veins)
        mask = canvas.polygons(blades)
        canvas.paint(
            0.26 * canvas.shadow(mask, -0.02 * light.x, -0.02 * light.y, 0.03), mix(tones.deep, tones.dark, 0.25)
        )
        canvas.paint(mask, tone[layer])
        canvas.paint(canvas.polygons(veins) * np.float32(0.55), mix(tone[layer], tones.pale, 0.6))


def _sprig(
    root: np.ndarray,
    turn: float,
    length: float,
    rng: np.random.Generator,
    blades: list[np.ndarray],
    veins: list[np.ndarray],
) -> None:
    """Add a stem with leaves in pairs, growing from `root`."""
    bend = rng.uniform(-0.5, 0.5)
    pairs = int(rng.integers(4, 6))
    at = root.copy()
    for n in range(pairs):
        turn += bend / pairs
        at = at + length / (pairs + 1) * np.array((np.cos(turn), np.sin(turn)))
        size = length * (0.36 - 0.035 * n)
        for way in (-0.85, 0.85):
            _leaf(at, turn + way, size, 0.19, blades, veins)
    _leaf(at, turn, length * 0.32, 0.19, blades, veins)
    veins.append(_stroke(root, at, 0.006))


def _leaf(
    at: np.ndarray, turn: float, size: float, wide: float, blades: list[np.ndarray], veins: list[np.ndarray]
) -> None:
    t = np.linspace(0, 1, 9)
    half = wide * size * np.sin(np.pi * t**0.85)
    along, across = np.array((np.cos(turn), np.sin(turn))), np.array((-np.sin(turn), np.cos(turn)))
    spine = at + np.outer(t * size, along)
    blades.append(np.concatenate([spine + np.outer(half, across), (spine - np.outer(half, across))[::-1]]))
    veins.append(_stroke(at + 0.08 * size * along, at + 0.85 * size * along, 0.005))


def _stroke(start: np.ndarray, end: np.ndarray, wide: float) -> np.ndarray:
    """A line that is `wide` at its start and tapers."""
    along = (end - start) / max(float(np.hypot(*(end - start))), 1e-6)
    across = np.array((-along[1], along[0])) * wide / 2
    return np.stack([start + across, end + across * 0.3, end - across * 0.3, start - across])


def shapes(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Large cut-outs at the corners: a blob, an arch, a frond and a half disc, with a squiggle at one side."""
    canvas.rgb[:] = mix(tones.b, tones.pale, 0.25)
    kinds = [_blob, _arch, _frond, _half]
    corners = np.array([(0.1, 0.12), (0.9, 0.12), (0.1, 0.88), (0.9, 0.88)])
    tone = (mix(tones.a, tones.deep, 0.3), mix(tones.deep, tones.accent, 0.7), mix(tones.b, tones.a, 0.55), tones.glow)
    order = rng.permutation(4)
    for corner, kind, colour in zip(corners[rng.permutation(4)], kinds, order, strict=True):
        parts = kind(corner + rng.uniform(-0.03, 0.03, 2), rng)
        mask = canvas.polygons(parts)
        canvas.paint(
            0.16 * canvas.shadow(mask, -0.012 * light.x, -0.012 * light.y, 0.02), mix(tones.deep, tones.dark, 0.3)
        )
        canvas.paint(mask, tone[colour])
    side = int(rng.integers(4))
    canvas.paint(canvas.polygons([_squiggle(side, rng)]), mix(tones.accent, tones.dark, 0.15))


def _ring(at: np.ndarray, reach: np.ndarray, start: float = 0.0, end: float = 2 * np.pi) -> np.ndarray:
    angle = np.linspace(start, end, len(reach))
    return at + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _blob(at: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    angle = np.linspace(0, 2 * np.pi, 64)
    reach = 0.27 + sum(0.05 / k * 2 * np.cos(k * angle + rng.uniform(0, 6)) * rng.uniform(0.5, 1) for k in (2, 3))
    return [_ring(at, reach)]


def _arch(at: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Three concentric half rings, open towards the nearer edge."""
    turn = 0.0 if at[1] > 0.5 else np.pi
    foot = np.array((at[0], 1.01 if at[1] > 0.5 else -0.01))
    out = []
    for outer in (0.27, 0.19, 0.11):
        ends = (np.pi + turn, 2 * np.pi + turn)
        outside = _ring(foot, np.full(32, outer), *ends)
        inside = _ring(foot, np.full(32, outer - 0.05), *ends)
        out.append(np.concatenate([outside, inside[::-1]]))
    return out


def _frond(at: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """A cut-out seaweed: round lobes along a spine that leans inwards."""
    inward = np.arctan2(0.5 - at[1], 0.5 - at[0])
    angle = np.linspace(0, 2 * np.pi, 160)
    lobes = 0.2 + 0.075 * np.cos(angle * int(rng.integers(7, 9)))
    petal = lobes[:, None] * np.stack([np.cos(angle) * 1.35, np.sin(angle) * 0.95], 1)
    turn = inward + np.pi / 2 + rng.uniform(-0.3, 0.3)
    spin = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    return [at + petal @ spin]


def _half(at: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    inward = np.arctan2(0.5 - at[1], 0.5 - at[0])
    turn = inward - np.pi / 2 + rng.choice((-0.25, 0.0, 0.25)) * np.pi
    return [_ring(at, np.full(48, rng.uniform(0.2, 0.25)), turn, turn + np.pi)]


def _squiggle(side: int, rng: np.random.Generator) -> np.ndarray:
    """A short wavy ribbon at the middle of a side: 0 top, 1 right, 2 bottom, 3 left."""
    t = np.linspace(0, 1, 60)
    x, middle = 0.41 + 0.18 * t, 0.06 + 0.014 * np.sin(t * 5 * np.pi)
    x, y = np.concatenate([x, x[::-1]]), np.concatenate([middle + 0.008, middle[::-1] - 0.008])
    return np.stack([(x, y), (1 - y, x), (x, 1 - y), (y, x)][side], 1)
