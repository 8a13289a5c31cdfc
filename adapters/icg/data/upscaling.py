"""Training pictures for upscaling: random drawings on the starter's backgrounds, large and small, clean and degraded as covers are.

A drawing is a vector graphic, so it is sharp at any size; no art package is needed. Knows no upscaler.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from icg.data.compose import BACKDROPS, FRAMINGS, PALETTES, Look, compose
from icg.data.icons import trim
from icg.errors import IcgError
from icg.pictures import decode, read

FACTOR = 4
KINDS = ("clean", "drawn", "spoiled")
"""Small pictures: scaled down; then through an autoencoder with a little latent noise, as covers are; or blurred, noisy, JPEG."""
LATENT_NOISE = 0.12
"""Largest noise, in deviations of the latents."""
DOWN = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)


@dataclass(frozen=True, eq=False)
class Pairs:
    """large: N pictures, (N, S, S, 3) uint8. small: their inputs, one of each of KINDS, (N, 3, S / 4, S / 4, 3) uint8."""

    large: np.ndarray
    small: np.ndarray

    def __len__(self) -> int:
        return len(self.large)

    def crop(self, row: int, kind: int, edge: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A window of `edge` pixels of the small picture and its part of the large one, equally rotated and mirrored."""
        y, x = rng.integers(0, self.small.shape[2] - edge + 1, 2)
        low = self.small[row, kind, y : y + edge, x : x + edge]
        high = self.large[row, FACTOR * y : FACTOR * (y + edge), FACTOR * x : FACTOR * (x + edge)]
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        low, high = np.rot90(low, turns), np.rot90(high, turns)
        return (low[:, ::-1], high[:, ::-1]) if mirrored else (low, high)


def held_out(subject: str) -> bool:
    """True for a quarter of the subjects, chosen by a hash of the name, which are held out of training."""
    return int(hashlib.sha256(f"upscaler:{subject}".encode()).hexdigest(), 16) % 4 == 0


def catalogue(folder: Path, held: bool, side: int = 128) -> list[Image.Image]:
    """The top left (side, side) of all pictures named SUBJECT-NUMBER, whose subjects are held out (or are not).

    Larger pictures are scaled down first, until their shorter edge is `side`; smaller ones are left out.
    Raises IcgError for a folder without any.
    """
    files = sorted(p for p in folder.glob("*.*") if held_out(p.stem.rpartition("-")[0]) == held)
    pictures = [picture for path in files if min((picture := decode(read(path))).size) >= side]
    if not pictures:
        raise IcgError(f"pictures={str(folder)!r}: none of {side} pixels there; allowed: files named SUBJECT-NUMBER")
    return [_shortened(picture, side).crop((0, 0, side, side)) for picture in pictures]


def _shortened(picture: Image.Image, side: int) -> Image.Image:
    """The picture, scaled so that its shorter edge is `side`."""
    width, height = (round(edge * side / min(picture.size)) for edge in picture.size)
    return picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.LANCZOS)


def random_cover(seed: int, number: int, side: int = 512) -> Image.Image:
    """Cover `number` of `seed`: a random drawing on one of the starter's backgrounds, (side, side) RGB."""
    rng = np.random.default_rng((seed, number))
    ink = rng.random() < 0.2
    axes = [list(PALETTES), BACKDROPS, FRAMINGS]
    look = Look("ink" if ink else "flat", *(str(rng.choice(axis)) for axis in axes))
    picture: Image.Image = compose(figure(rng, side), look, int(rng.integers(2**31)), side)
    return picture


def figure(rng: np.random.Generator, side: int) -> np.ndarray:
    """A drawing of three to ten shapes, mirrored or not, with or without outlines: (side, side, 4) uint8, straight alpha."""
    import resvg_py

    outline = rng.random() < 0.4
    fills, parts = [], []
    for n in range(int(rng.integers(3, 11))):
        fill, colours = _fill(rng, n)
        fills.append(fill)
        edge = f'stroke="{_dark(colours)}" stroke-width="{rng.uniform(0.8, 4):.1f}"' if outline else ""
        reach = 34 / (1 + 0.35 * n)
        part = _part(rng, reach, f'fill="url(#f{n})" {edge} stroke-linejoin="round"', _dark(colours))
        parts.append(part)
        if rng.random() < 0.4:
            parts.append(f'<g transform="translate(100 0) scale(-1 1)">{part}</g>')
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><defs>{"".join(fills)}</defs>{"".join(parts)}</svg>'
    image = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))))
    cut: np.ndarray = trim(image.convert("RGBA"), side)
    return cut


def pairs(large: Sequence[Image.Image], vae: Any, seed: int) -> Pairs:
    """Scale down and degrade pictures of one size, whose edge is a multiple of 32. vae: a diffusers autoencoder with its own scaling."""
    small = []
    for n, picture in enumerate(large):
        rng = np.random.default_rng((seed, n))
        low = picture.resize((picture.width // FACTOR, picture.height // FACTOR), DOWN[int(rng.integers(len(DOWN)))])
        clean = picture.resize(low.size, Image.Resampling.BICUBIC)
        small.append(np.stack([np.asarray(clean), through(vae, low, rng), _degraded(low, rng)]))
    return Pairs(np.stack([np.asarray(picture) for picture in large]), np.stack(small))


@torch.inference_mode()
def through(vae: Any, picture: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Encode, add a little noise to the latents, decode: the artefacts of a generated cover."""
    x = torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    latents = vae.encode(x).latent
    noise = torch.from_numpy(rng.standard_normal(latents.shape).astype(np.float32))
    y = vae.decode(latents + noise * latents.std() * float(rng.uniform(0, LATENT_NOISE))).sample[0]
    pixels: np.ndarray = ((y.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return pixels


def _degraded(picture: Image.Image, rng: np.random.Generator) -> np.ndarray:
    picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.9))))
    noisy = np.asarray(picture, np.float32) + rng.standard_normal((*picture.size[::-1], 3)) * rng.uniform(0, 6)
    out = io.BytesIO()
    Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=int(rng.integers(50, 96)))
    return np.asarray(Image.open(out).convert("RGB"))


def _fill(rng: np.random.Generator, n: int) -> tuple[str, np.ndarray]:
    """A gradient with the id f`n`, its stops equal or different, and its colours (2, 3)."""
    first = rng.uniform(0, 1, 3) if rng.random() < 0.85 else np.full(3, rng.choice([0.04, 0.97]))
    second = first if rng.random() < 0.4 else np.clip(first + rng.uniform(-0.35, 0.35, 3), 0, 1)
    colours = np.stack([first, second]) * 255
    stops = "".join(f'<stop offset="{k}" stop-color="{_css(c)}"/>' for k, c in enumerate(colours))
    if rng.random() < 0.5:
        return f'<radialGradient id="f{n}" cx="{rng.uniform(0.2, 0.6):.2f}" cy="0.3">{stops}</radialGradient>', colours
    return f'<linearGradient id="f{n}" x2="{rng.integers(2)}" y2="1">{stops}</linearGradient>', colours


def _part(rng: np.random.Generator, reach: float, attributes: str, dark: str) -> str:
    """One shape of about `reach` at most; the larger it is, the closer its centre is to the middle."""
    x, y = 50 + rng.uniform(-1, 1, 2) * (44 - reach)
    w, h = reach * rng.uniform(0.35, 1, 2)
    kind = int(rng.integers(6))
    if kind == 0:
        return f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{w:.1f}" ry="{h:.1f}" {attributes}/>'
    if kind == 1:
        turn = f'transform="rotate({rng.uniform(-40, 40):.0f} {x:.1f} {y:.1f})"'
        box = f'x="{x - w:.1f}" y="{y - h:.1f}" width="{2 * w:.1f}" height="{2 * h:.1f}"'
        return f'<rect {box} rx="{rng.uniform(0, min(w, h)):.1f}" {turn} {attributes}/>'
    if kind == 2:  # strokes: whiskers, strings, stems
        bend = rng.uniform(-1, 1, (3, 2)) * (w, h) + (x, y)
        curve = " ".join(f"{a:.1f},{b:.1f}" for a, b in bend)
        wide = rng.uniform(0.6, 5)
        return f'<path d="M{x - w:.1f},{y:.1f} C{curve}" fill="none" stroke="{dark}" stroke-width="{wide:.1f}" stroke-linecap="round"/>'
    if kind == 3:  # an eye, a button, a wheel
        r = max(2.0, 0.3 * w)
        rings = ((r, "#fff"), (0.62 * r, dark), (0.2 * r, "#fff"))
        return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{a:.1f}" fill="{c}"/>' for a, c in rings)
    count = int(rng.integers(3, 11))
    angles = np.arange(2 * count) * math.pi / count + rng.uniform(0, 2)
    radii = np.where(np.arange(2 * count) % 2, rng.uniform(0.45, 1), 1.0) * rng.uniform(0.8, 1, 2 * count)
    points = np.stack([x + w * radii * np.cos(angles), y + h * radii * np.sin(angles)], 1)
    if kind == 4:
        return f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" {attributes}/>'
    middle = (points + np.roll(points, -1, 0)) / 2
    path = " ".join(f"Q{a:.1f},{b:.1f} {c:.1f},{d:.1f}" for (a, b), (c, d) in zip(points, middle, strict=True))
    return f'<path d="M{middle[-1][0]:.1f},{middle[-1][1]:.1f} {path} Z" {attributes}/>'


def _css(colour: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(v)):02x}" for v in colour)


def _dark(colours: np.ndarray) -> str:
    return _css(colours.mean(0) * 0.35)
