"""Backdrops that are places: hills, a city, the night sky and a room. The subject stands before their middle."""

from __future__ import annotations

import numpy as np

from icg.data.grounds.canvas import Canvas, smooth
from icg.data.grounds.colours import Tones, mix
from icg.data.grounds.light import Light


def hills(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Three ranges under a pale sun, hazy at their feet, with trees at the sides of the nearest."""
    x = canvas.x[0]
    canvas.rgb[:] = mix(tones.mid, tones.pale, smooth(canvas.y, 0.0, 0.62))
    sun(canvas, tones, 0.5 + 0.28 * light.x + rng.uniform(-0.04, 0.04), rng.uniform(0.17, 0.25), 0.085)
    bodies = (mix(tones.b, tones.a, 0.6), mix(tones.a, tones.deep, 0.25), mix(tones.deep, tones.accent, 0.5))
    for n, body in enumerate(bodies):
        height = (0.58, 0.71, 0.85)[n] + rng.uniform(-0.02, 0.02)
        swing = np.sin(x * rng.uniform(4, 6) + rng.uniform(0, 6)) + 0.4 * np.sin(
            x * rng.uniform(8, 11) + rng.uniform(0, 6)
        )
        curve = height + (0.055, 0.045, 0.035)[n] * swing
        if n == 2:
            canvas.paint(canvas.polygons(_trees(curve, rng)), mix(body, tones.dark, 0.16))
        haze = mix(body, tones.pale, 0.42 * smooth(canvas.y - curve, 0.02, 0.22) * (n < 2))
        canvas.paint(canvas.below(curve), haze)


def _trees(curve: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Firs at both sides, standing on `curve`."""
    out = []
    for start in (0.0, 0.82):
        for n in range(3):
            x = start + 0.07 * n + rng.uniform(-0.015, 0.015)
            foot = curve[min(len(curve) - 1, max(0, int(x * len(curve))))] + 0.02
            tall = rng.uniform(0.1, 0.2)
            for low, high, wide in ((0.0, 0.55, 0.3), (0.3, 0.8, 0.24), (0.55, 1.0, 0.17)):
                out.append(
                    np.array(
                        [
                            (x - wide * tall, foot - low * tall),
                            (x + wide * tall, foot - low * tall),
                            (x, foot - high * tall),
                        ]
                    )
                )
    return out


def city(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """Two rows of houses before a large pale sun; the nearer has lit windows. Low in the middle."""
    canvas.rgb[:] = mix(mix(tones.a, tones.mid, 0.4), tones.pale, smooth(canvas.y, 0.0, 0.8))
    sun(canvas, tones, 0.5 + 0.22 * light.x, 0.34 + rng.uniform(-0.04, 0.04), 0.17)
    far, _ = _houses(0.36, 0.2, 0.08, rng)
    canvas.paint(canvas.polygons([part for house in far for part in house]), mix(tones.b, tones.a, 0.7))
    canvas.paint(0.4 * smooth(canvas.y, 0.55, 1.0), tones.pale)
    near, windows = _houses(0.27, 0.2, 0.1, rng)
    for start, share in ((0, 0.35), (1, 0.75)):
        canvas.paint(
            canvas.polygons([part for house in near[start::2] for part in house]), mix(tones.deep, tones.accent, share)
        )
    canvas.paint(canvas.polygons(windows) * np.float32(0.75), tones.glow)


def _houses(
    least: float, more: float, wide: float, rng: np.random.Generator
) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    """Outlines of the parts of each house of a row, and of its windows."""
    houses, windows = [], []
    x = -0.03
    while x < 1:
        width = wide * rng.uniform(0.7, 1.3)
        side = min(1.0, abs(x + width / 2 - 0.5) * 2)
        top = 1 - (0.5 + 0.5 * side) * least - more * side * rng.uniform(0.3, 1.0)
        kind = int(rng.integers(4))
        parts = [_rectangle(x, top, x + width, 1.02)]
        if kind == 1:
            parts.append(np.array([(x, top), (x + width, top), (x + width, top - 0.35 * width)]))
        elif kind == 2:
            parts.append(_rectangle(x + 0.2 * width, top - 0.035, x + 0.8 * width, top))
        elif kind == 3:
            parts.append(_rectangle(x + 0.47 * width, top - 0.08, x + 0.53 * width + 0.004, top))
        houses.append(parts)
        columns = max(2, int(width / 0.035))
        pitch = width / (columns + 0.6)
        for column in range(columns):
            for row in range(int((0.98 - top) / 0.045)):
                if rng.random() < 0.45:
                    left, up = x + (column + 0.45) * pitch, top + 0.025 + row * 0.045
                    windows.append(_rectangle(left, up, left + 0.016, up + 0.022))
        x += width
    return houses, windows


def stars(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """A night sky: a crescent moon with a halo, stars at the sides, clouds at the foot."""
    top = mix(tones.deep, tones.accent, 0.45)
    canvas.rgb[:] = mix(top, tones.mid, smooth(canvas.y, -0.05, 0.9))
    cx, cy, size = 0.5 + (0.3 if light.x >= 0 else -0.3), rng.uniform(0.17, 0.22), rng.uniform(0.085, 0.105)
    away = canvas.radius(cx, cy)
    canvas.paint(0.45 * smooth(away, 0.36, 0.03), tones.b)
    bite = canvas.radius(cx + size * 0.5, cy - size * 0.3) - size * 0.88
    canvas.paint(canvas.cover(np.minimum(size - away, bite)), tones.glow)
    bright: list[np.ndarray] = []
    taken = [(cx, cy, 0.17), (0.5, 0.55, 0.3)]
    for n in range(60):
        at = rng.uniform(0.03, 0.97, 2) * (1, 0.8)
        if any(np.hypot(at[0] - x, at[1] - y) < reach for x, y, reach in taken):
            continue
        taken.append((at[0], at[1], 0.065))
        if n % 3 == 0:
            bright.append(_sparkle(at, rng.uniform(0.022, 0.04)))
        else:
            canvas.disc(*at, rng.uniform(0.004, 0.009), tones.glow, rng.uniform(0.5, 0.95))
    canvas.paint(canvas.polygons(bright) * np.float32(0.95), tones.glow)
    for level, tone in ((0.93, mix(tones.mid, tones.b, 0.35)), (1.0, mix(tones.b, tones.pale, 0.6))):
        _clouds(canvas, level, tone, rng)


def _sparkle(at: np.ndarray, reach: float) -> np.ndarray:
    """A star with four points."""
    angle = np.arange(8) * (np.pi / 4)
    arm = np.where(np.arange(8) % 2 == 0, reach, reach * 0.26)
    return at + np.stack([np.cos(angle) * arm, np.sin(angle) * arm], 1)


def _clouds(canvas: Canvas, level: float, tone: np.ndarray, rng: np.random.Generator) -> None:
    """A bank of round clouds, higher at the sides, as one shape."""
    far = canvas.y - np.float32(level) + 0.1 * np.minimum(1, np.abs(canvas.x - 0.5) * 2)
    for x in np.arange(-0.02, 1.1, 0.115):
        size = rng.uniform(0.07, 0.12)
        rise = 0.1 * min(1.0, abs(x - 0.5) * 2)
        np.maximum(far, size - canvas.radius(x + rng.uniform(-0.02, 0.02), level - rise), out=far)
    canvas.paint(canvas.cover(far), tone)


def room(canvas: Canvas, tones: Tones, light: Light, rng: np.random.Generator) -> None:
    """A wall, often with an arched or a round niche, a floor, and a window's light on the wall."""
    floor = rng.uniform(0.71, 0.76)
    canvas.rgb[:] = mix(tones.mid, tones.b, smooth(light.along(canvas), 0.0, 1.0))
    if (kind := int(rng.integers(4))) < 3:
        _niche(canvas, tones, light, is_round=kind == 2)
    way = 1.0 if light.x <= 0 else -1.0
    window(canvas, tones, way, 0.5 - way * rng.uniform(0.12, 0.2))
    stage(canvas, tones, floor, way, skirting=True)


def stage(canvas: Canvas, tones: Tones, edge: float, way: float, skirting: bool) -> None:
    """What a subject stands on, below `edge`: darker near the wall, lighter where the light falls, with a `skirting` on the wall or not."""
    ground = canvas.cover(canvas.y - edge)
    canvas.paint(ground, mix(tones.deep, tones.a, smooth(canvas.y, edge, 1.0)))
    canvas.paint(0.3 * ground * smooth(canvas.radius(0.5 - way * 0.2, 1.0), 0.6, 0.0), tones.b)
    if skirting:
        canvas.paint(canvas.cover(0.011 - np.abs(canvas.y - edge + 0.011)), tones.pale)
    canvas.paint(0.25 * ground * smooth(canvas.y, edge + 0.07, edge), mix(tones.deep, tones.dark, 0.4))


def _niche(canvas: Canvas, tones: Tones, light: Light, is_round: bool) -> None:
    wide = 0.27 if is_round else 0.3
    down = canvas.y - np.float32(0.39 if is_round else 0.46)
    inside = wide - np.hypot(canvas.x - 0.5, down if is_round else np.minimum(down, 0))
    lit = smooth((canvas.x - 0.5) * (-light.x if light.x else 1.0), -wide, wide)
    canvas.paint(canvas.cover(inside), mix(tones.deep, tones.mid, 0.25 + 0.5 * lit))


def window(
    canvas: Canvas, tones: Tones, way: float, cx: float, top: float = 0.1, pane: float = 0.21, slant: float = 0.35
) -> None:
    """The light of a window's four panes on a wall, slanted: around column `cx` and from row `top` on, each `pane` high."""
    panes = []
    for column in (0, 1):
        for row in (0, 1):
            left, up = -0.17 + column * 0.18, top + row * (pane + 0.03)
            corners = np.array([(left, up), (left + 0.155, up), (left + 0.155, up + pane), (left, up + pane)])
            corners[:, 1] += slant * (corners[:, 0] + 0.17)
            panes.append(np.stack([cx + way * corners[:, 0], corners[:, 1]], 1))
    mask = canvas.shadow(canvas.polygons(panes), 0, 0, 0.012)
    canvas.paint(0.6 * mask, tones.pale)


def sun(canvas: Canvas, tones: Tones, cx: float, cy: float, radius: float) -> None:
    """A pale disc in a halo."""
    away = canvas.radius(cx, cy)
    canvas.paint(0.5 * smooth(away, radius * 2.8, radius * 0.8), tones.pale)
    canvas.paint(canvas.cover(radius - away) * np.float32(0.9), tones.glow)


def _rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
