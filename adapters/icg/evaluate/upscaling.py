"""Quality of an upscaler: gains over bicubic on pictures of held-out subjects and on new drawings; and whether seams are visible.

PSNR in RGB, SSIM (Wang et al. 2004) of the luminance, gains over Pillow's bicubic of the same small picture. Knows no training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from icg import starter
from icg.contact_sheet import Cell, Row, contact_sheet
from icg.data.upscaling import KINDS, Pairs, catalogue, pairs, random_cover
from icg.models.upscale import Upscaler

DRAWINGS = 1_000_000
"""Seeds of drawings from here on are used by no recipe."""
BICUBIC = Image.Resampling.BICUBIC


def psnr(a: Image.Image, b: Image.Image) -> float:
    """In decibels, of bytes in RGB; 99 for equal pictures."""
    error = np.square(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean()
    return 10 * float(np.log10(255**2 / error)) if error else 99.0


def ssim(a: Image.Image, b: Image.Image) -> float:
    """-1..1, in Gaussian windows of 11 pixels, deviation 1.5."""
    x, y = (torch.from_numpy(np.asarray(i.convert("L"), np.float64).copy())[None, None] for i in (a, b))
    at = torch.arange(11, dtype=torch.float64) - 5
    bell = torch.exp(-at.square() / (2 * 1.5**2))
    bell /= bell.sum()

    def mean(value: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(value, bell[None, None, None]), bell[None, None, :, None])

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    a, b = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = (2 * mx * my + a) * (2 * both + b) / ((mx * mx + my * my + a) * (vx + vy + b))
    return float(values.mean())


def gains(upscaler: Upscaler, small: Sequence[Image.Image], large: Sequence[Image.Image]) -> dict[str, float]:
    """Mean PSNR and SSIM of the upscaler's pictures, and their gains over bicubic."""
    rows = []
    for low, high, upscaled in zip(small, large, upscaler(small), strict=True):
        plain = low.resize(high.size, BICUBIC)
        rows.append((psnr(upscaled, high), psnr(plain, high), ssim(upscaled, high), ssim(plain, high)))
    p, plain_p, s, plain_s = np.mean(rows, 0)
    return {"psnr": float(p), "psnr_gain": float(p - plain_p), "ssim": float(s), "ssim_gain": float(s - plain_s)}


def measure(
    checkpoint: str | Path, pictures: Path, seeds: int = 3, count: int = 24
) -> Mapping[str, Mapping[str, list[float]]]:
    """Gains by kind of pictures, a number a seed: `count` of the catalogue's held-out pictures, and as many new drawings.

    `catalogue` and `drawings`: scaled down by bicubic; `half`: the catalogue's pictures at half their size, doubled; `covers`: drawings
    that went through the starter's autoencoder; `spoiled`: blurred, noisy, JPEG. For a Swin2SR of factor 4.
    """
    whole = Upscaler.from_pretrained(checkpoint, 4)
    double = Upscaler(whole.model, 2)
    held, vae = catalogue(pictures, held=True), starter.autoencoder()
    result: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        chosen = [held[n] for n in rng.permutation(len(held))[:count]]
        new = pairs([random_cover(DRAWINGS + seed, n) for n in range(count)], vae, seed)
        drawings = [Image.fromarray(picture) for picture in new.large]
        kinds = {
            "catalogue": gains(whole, _smaller(chosen, 4), chosen),
            "half": gains(double, _smaller(chosen, 2), chosen),
            "drawings": gains(whole, _of(new, "clean"), drawings),
            "covers": gains(whole, _of(new, "drawn"), drawings),
            "spoiled": gains(whole, _of(new, "spoiled"), drawings),
        }
        for kind, row in kinds.items():
            for name, value in row.items():
                result.setdefault(kind, {}).setdefault(name, []).append(value)
    return result


def seams(upscaler: Upscaler, picture: Image.Image) -> dict[str, float]:
    """Tiled minus whole, in bytes: mean difference `at` tile edges (up to a window away), `elsewhere`, their `ratio`, and the `most`.

    A thousandth is added to both means: a ratio of 1 means invisible seams. Needs a picture larger than a tile.
    """
    whole = Upscaler(upscaler.model, tile=_up(max(picture.size), upscaler.window) + 4 * upscaler.window, overlap=0)
    tiled = Upscaler(upscaler.model, tile=upscaler.tile, overlap=upscaler.overlap)
    tiled_pixels, whole_pixels = (np.asarray(u([picture])[0], np.float32) for u in (tiled, whole))
    difference = np.abs(tiled_pixels - whole_pixels).mean(2)
    rows, columns = (_edges(tiled, edge) for edge in picture.size[::-1])
    at = rows[:, None] | columns
    near, far = float(difference[at].mean()), float(difference[~at].mean())
    return {"at": near, "elsewhere": far, "ratio": (near + 1e-3) / (far + 1e-3), "most": float(difference.max())}


def sheet(covers: Sequence[Image.Image], upscaler: Upscaler, side: int = 72) -> Image.Image:
    """Columns: the middles of covers, `side` of their pixels. Rows: as drawn, bicubic, upscaled."""
    rows: dict[str, list[Cell]] = {"as drawn": [], "bicubic": [], "upscaled": []}
    for cover, large in zip(covers, upscaler(covers), strict=True):
        x, y = ((edge - side * 4) // 2 for edge in large.size)
        enlarged = cover.resize(large.size, Image.Resampling.NEAREST), cover.resize(large.size, BICUBIC), large
        for cells, picture in zip(rows.values(), enlarged, strict=True):
            cells.append(Cell(picture.crop((x, y, x + side * 4, y + side * 4))))
    return contact_sheet([Row(label, "", cells) for label, cells in rows.items()], cell=side * 4)


def _smaller(pictures: Sequence[Image.Image], factor: int) -> list[Image.Image]:
    return [p.resize((p.width // factor, p.height // factor), BICUBIC) for p in pictures]


def _of(drawings: Pairs, kind: str) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in drawings.small[:, KINDS.index(kind)]]


def _edges(upscaler: Upscaler, edge: int) -> np.ndarray:
    """(edge * factor,): whether an edge of a tile is at most a window away."""
    at = np.arange(edge * upscaler.factor) / upscaler.factor
    near: np.ndarray = np.any([np.abs(at - place) <= upscaler.window for place in upscaler.borders(edge)], axis=0)
    return near


def _up(edge: int, multiple: int) -> int:
    return edge + -edge % multiple
