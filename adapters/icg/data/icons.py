"""Titled drawings from npm's `@iconify-json` packages. Knows nothing about covers, users or models.

`IconSet` reads one package. `titled` yields many subjects, each in one style, from which only the joint embedding is trained.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from icg.errors import IcgError

PACKAGES = (
    *("fluent-emoji-flat", "noto", "twemoji", "emojione", "fxemoji", "streamline-emojis", "flat-color-icons"),
    *("icon-park", "game-icons", "mdi", "ph"),
)
"""MIT, Apache-2.0, CC-BY 3.0 or 4.0."""
VARIANTS = frozenset(
    """outline off outlined bold thin light fill duotone box circle variant alert check cancel plus minus remove lock clock edit
    settings sync refresh search arrow arrows alpha numeric format file flag flags skin tone dark medium button keycap
    """.split()  # noqa: SIM905
)
"""Words of names that say how an icon is drawn or used, not what it shows."""
BOX = (("left", 0), ("top", 0), ("width", 16), ("height", 16))
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


class IconSet:
    """One package of `art`, a node_modules folder. Raises IcgError if it is missing."""

    def __init__(self, art: Path, package: str) -> None:
        folder = art / "@iconify-json" / package
        if not (folder / "icons.json").exists():
            raise IcgError(
                f"art={str(art)!r}: no @iconify-json/{package} there; allowed: a node_modules folder that has it"
            )
        self.package = package
        self._set = json.loads((folder / "icons.json").read_text())
        characters = folder / "chars.json"
        self._slugs: dict[str, str] = json.loads(characters.read_text()) if characters.exists() else {}

    @property
    def names(self) -> Collection[str]:
        """Every icon's name."""
        return self._set["icons"].keys()

    def slug(self, code: str) -> str | None:
        """The icon name of a character, whose hexadecimal code points are joined by "-"."""
        return self._slugs.get(code) or self._slugs.get(code.replace("-fe0f", ""))

    def draw(self, name: str, side: int) -> Image.Image:
        """RGBA, at most (side, side)."""
        import resvg_py

        icon = self._set["icons"][name]
        box = " ".join(str(icon.get(key, self._set.get(key, default))) for key, default in BOX)
        svg = f'<svg {NAMESPACES} viewBox="{box}" color="#000">{icon["body"]}</svg>'
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
        return Image.open(io.BytesIO(png)).convert("RGBA")


def titled(
    art: Path, unseen: Collection[str], packages: Collection[str] = PACKAGES, side: int = 128
) -> Iterator[tuple[str, str, np.ndarray]]:
    """(title, package, sprite (side, side, 4) uint8) of each icon whose name does not contain every word of a title in `unseen`."""
    hidden = [set(words(title)) for title in unseen]
    for package in packages:
        icons = IconSet(art, package)
        for name in sorted(icons.names):
            title = words(name)
            if title and not VARIANTS & set(title) and not any(h <= set(title) for h in hidden):
                yield " ".join(title), package, trim(icons.draw(name, side), side)


def trim(image: Image.Image, side: int) -> np.ndarray:
    """Crop to the visible pixels, pad to a square and resize: (side, side, 4) uint8, straight alpha."""
    box = image.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox() or (0, 0, *image.size)
    image = image.crop(box)
    edge = max(image.size)
    square = Image.new("RGBA", (edge, edge))
    square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS)).copy()


def words(title: str) -> list[str]:
    """Lower-case words of two or more letters."""
    return re.findall(r"[a-z]{2,}", title.lower())
