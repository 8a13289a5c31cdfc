"""Titled art: one subject drawn in four openly licensed styles, read from npm packages.

Reads `@lobehub/fluent-emoji-3d` (MIT), and of `@iconify-json`: `noto` (Apache-2.0), `twemoji` (CC-BY 4.0) and
`fluent-emoji-high-contrast` (MIT); names come from `emoji-datasource`.
Knows nothing about covers, users or models. `procedural` draws replacement shapes for machines without the packages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from icg.data.icons import IconSet, trim
from icg.errors import IcgError

STYLES: tuple[str, ...] = ("3d", "painted", "flat", "ink")
CATEGORIES: tuple[str, ...] = ("nature", "food", "travel", "activities", "objects")
SIDE = 128
"""Sprites are SIDE x SIDE RGBA, cropped to their visible pixels and centred."""

_CATEGORY = {
    "Animals & Nature": "nature",
    "Food & Drink": "food",
    "Travel & Places": "travel",
    "Activities": "activities",
    "Objects": "objects",
    "Smileys & Emotion": "objects",
}


@dataclass(frozen=True)
class Subject:
    """An object to draw. `sprites` maps a style to (SIDE, SIDE, 4) uint8 RGBA, straight alpha."""

    id: str
    title: str
    category: str
    sprites: dict[str, np.ndarray]

    @property
    def held_out(self) -> bool:
        """True for the ~10 % of subjects, chosen by a hash of the id, that no training stage uses."""
        return held_out(self.id)


@dataclass(frozen=True)
class Entry:
    """A subject that is drawn in every style, before its pictures are read.

    `fluent`: the 3d picture, (256, 256) webp. `icons`: the other styles' icon sets and the drawings' names there, in order of STYLES.
    """

    id: str
    category: str
    fluent: Path
    icons: tuple[tuple[IconSet, str], ...]


def held_out(id: str) -> bool:
    """`Subject.held_out` by the subject's id."""
    return int(hashlib.sha256(f"starter:{id}".encode()).hexdigest(), 16) % 10 == 0


def load_subjects(art: Path, cache: Path | None = None) -> list[Subject]:
    """Subjects drawn in every style, sorted by id. `art` is a node_modules folder.

    `cache`: an .npz of decoded sprites, written if it is missing. Raises IcgError if the art is missing.
    """
    if cache is not None and cache.exists():
        with np.load(cache) as z:
            rows = zip(z["ids"], z["titles"], z["categories"], z["sprites"], strict=True)
            return [Subject(str(i), str(t), str(c), dict(zip(STYLES, s, strict=True))) for i, t, c, s in rows]
    ordered = [Subject(e.id, title_of(e.id), e.category, _sprites(e)) for e in entries(art)]
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        stack = np.stack([np.stack([s.sprites[k] for k in STYLES]) for s in ordered])
        columns = {"ids": [s.id for s in ordered], "titles": [s.title for s in ordered]}
        np.savez(cache, sprites=stack, categories=np.array([s.category for s in ordered]), **columns)
    return ordered


def entries(art: Path) -> list[Entry]:
    """What `load_subjects` reads, sorted by id, one an id. Raises IcgError if the art is missing."""
    if not (art / "emoji-datasource" / "emoji.json").exists():
        raise IcgError(f"art={str(art)!r}: no emoji-datasource/emoji.json there; allowed: a node_modules folder")
    emoji = json.loads((art / "emoji-datasource" / "emoji.json").read_text())
    icon_sets = [IconSet(art, name) for name in ("noto", "twemoji", "fluent-emoji-high-contrast")]
    by_id = {entry.id: entry for entry in _entries(art, emoji, icon_sets)}
    return [by_id[id] for id in sorted(by_id)]


def _entries(art: Path, emoji: list[dict[str, str]], icon_sets: list[IconSet]) -> Iterator[Entry]:
    names = set((Path(__file__).parent / "subjects.txt").read_text().split())
    folder = art / "@lobehub" / "fluent-emoji-3d" / "assets"
    for row in emoji:
        code = row["unified"].lower()
        slugs = [icons.slug(code) for icons in icon_sets]
        category = _CATEGORY.get(row["category"])
        if category is None or slugs[-1] not in names:
            continue
        files = [folder / f"{n}.webp" for n in (code, code.replace("-fe0f", ""))]
        fluent = next((file for file in files if file.exists()), None)
        icons = tuple((i, s) for i, s in zip(icon_sets, slugs, strict=True) if s is not None and s in i.names)
        if fluent is not None and len(icons) == len(icon_sets):
            yield Entry(icons[-1][1], category, fluent, icons)


def procedural(count: int = 12) -> list[Subject]:
    """Replacement subjects (coloured shapes), so that every recipe runs without the art packages. Deterministic."""
    shapes, hues = ("circle", "square", "triangle"), ("red", "green", "blue", "orange")
    out = []
    for i in range(count):
        shape, hue = shapes[i % 3], hues[i // 3 % 4]
        sprites = {style: _shape(shape, "black" if style == "ink" else hue, style) for style in STYLES}
        title = f"{hue} {shape}" + (f" {i // 12}" if i >= 12 else "")
        out.append(Subject(title.replace(" ", "-"), title, CATEGORIES[i % 5], sprites))
    return out


def on_white(sprite: np.ndarray, side: int = SIDE, margin: float = 0.06) -> Image.Image:
    """A sprite on white, (side, side) RGB: like a shop's product picture."""
    inner = round(side * (1 - 2 * margin))
    small = Image.fromarray(sprite).resize((inner, inner), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (side, side), "white")
    at = (side - inner) // 2
    canvas.paste(small, (at, at), small)
    return canvas


def title_of(slug: str) -> str:
    """A subject's name in words."""
    return slug.replace("-", " ").replace("piata", "pinata")


def _sprites(entry: Entry) -> dict[str, np.ndarray]:
    pictures = [icons.draw(name, 2 * SIDE) for icons, name in entry.icons]
    pictures.insert(0, Image.open(entry.fluent).convert("RGBA"))
    return {style: trim(picture, SIDE) for style, picture in zip(STYLES, pictures, strict=True)}


def _shape(shape: str, hue: str, style: str) -> np.ndarray:
    image = Image.new("RGBA", (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    box, width = (6, 6, SIDE - 6, SIDE - 6), {"3d": 0, "painted": 10, "flat": 4, "ink": 2}[style]
    fill = None if style == "ink" else hue
    if shape == "circle":
        draw.ellipse(box, fill=fill, outline="black", width=width)
    elif shape == "square":
        draw.rectangle(box, fill=fill, outline="black", width=width)
    else:
        draw.polygon([(SIDE // 2, 6), (6, SIDE - 6), (SIDE - 6, SIDE - 6)], fill=fill, outline="black", width=width)
    return np.asarray(image).copy()
