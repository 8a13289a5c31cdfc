"""Photographs under free licences from Debian's packages of wallpapers: which files they are, and covers cut from them. Knows no model.

    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 lxqt-themes mate-backgrounds palapeli-data plasma-workspace-wallpapers
    for f in *.deb; do dpkg-deb -x $f photographs; done

The packages hold drawings and patterns as well; PHOTOGRAPHS lists what a camera took. None of them is in this repository.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from icg.errors import IcgError, InputError
from icg.pictures import decode, read

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
PHOTOGRAPHS = {
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Picture_0B_by_freespace Picture_1A_by_freespace Wine_by_Jakkub_Mede "
        "aitzgorri_by_Aitzol_Berasategi free_by_Peter_Nerlich friends_by_Aitzol_Berasategi greentock_by_Peter_Nerlich "
        "life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi"
    ),
    "lomiri-wallpapers-20.04": "Fossa_by_Jasper_Roks Infinite-Sea_by_Aury88 Kleiber_by_Lukas_Baubkus",
    "lxqt-themes": "Butterfly-Kenneth-Wimer Valendas after-the-rain appleflower beam butterfly cloud drop flowers fog this-is-not-windows",
    "mate-backgrounds": (
        "Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood YellowFlower"
    ),
    "palapeli-data": "castle-maintenon cincinnati-bridge citrus-fruits european-honey-bee panther-chameleon-female",
    "plasma-workspace-wallpapers": (
        "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path summer_1am"
    ),
}
"""Package -> names of files without suffix; of Plasma, names of folders, whose largest picture counts."""
MOST_EDGE, LEAST_CONTRAST = 1024, 0.08


def find(folder: Path) -> dict[str, Path]:
    """The photographs of PHOTOGRAPHS below `folder`, by name. Raises IcgError for a folder with fewer than ten of them."""
    names = {name for text in PHOTOGRAPHS.values() for name in text.split()}
    out: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file() or path.stat().st_size < 40_000:
            continue
        name = path.stem if path.stem in names else next((part for part in path.parts[-4:-1] if part in names), "")
        if name and (name not in out or path.stat().st_size > out[name].stat().st_size):
            out[name] = path
    if len(out) < 10:
        raise IcgError(
            f"photographs={str(folder)!r} holds {len(out)} of {len(names)} photographs; allowed: the unpacked packages "
            f"{', '.join(PHOTOGRAPHS)}"
        )
    return out


def held_out(name: str) -> bool:
    """True for about a quarter of the names, by their hash: these judge, and no head is trained on them."""
    return hashlib.sha256(f"photograph:{name}".encode()).digest()[0] < 64


def load(path: Path) -> Image.Image:
    """An RGB picture of at most MOST_EDGE pixels. Raises InputError for one that cannot be decoded."""
    try:
        return decode(read(path), path.name, longest=MOST_EDGE)
    except InputError:
        # Wallpapers are trusted files of a package, and larger than what a service takes from strangers.
        with Image.open(path) as image:
            image.draft("RGB", (MOST_EDGE, MOST_EDGE))
            whole = image.convert("RGB")
        whole.thumbnail((MOST_EDGE, MOST_EDGE), Image.Resampling.LANCZOS)
        return whole


def cover(image: Image.Image, rng: np.random.Generator, side: int) -> Image.Image:
    """A part of the photograph squeezed to (side, side), half of the time with lines of text, half of the time through lossy WebP at the
    size of a poster. Parts without contrast are drawn again."""
    for _ in range(20):
        share, shape = rng.uniform(0.35, 1.0), rng.uniform(0.6, 1.6)
        width = min(image.width, round(share * min(image.width, image.height * shape)))
        height = min(image.height, max(16, round(width / shape)))
        x, y = int(rng.integers(0, image.width - width + 1)), int(rng.integers(0, image.height - height + 1))
        part = image.crop((x, y, x + width, y + height)).resize((side, side), Image.Resampling.LANCZOS)
        if np.asarray(part.convert("L"), float).std() / 255 > LEAST_CONTRAST:
            break
    if rng.random() < 0.5:
        _write(part, rng)
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        part.resize((side // 2, 3 * side // 4), Image.Resampling.LANCZOS).save(
            buffer, "WEBP", quality=int(rng.integers(60, 96))
        )
        part = Image.open(buffer).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return part


def pictures(folder: Path) -> Sequence[Path]:
    """All picture files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _write(part: Image.Image, rng: np.random.Generator) -> None:
    draw, side = ImageDraw.Draw(part), part.width
    for _ in range(int(rng.integers(1, 4))):
        size = int(side * rng.uniform(0.05, 0.16))
        letters = "".join(chr(int(c)) for c in rng.integers(ord("A"), ord("Z") + 1, rng.integers(4, 14)))
        colour = tuple(
            int(c) for c in (rng.integers(0, 256, 3) if rng.random() < 0.4 else [255 * rng.integers(0, 2)] * 3)
        )
        place = (side * rng.uniform(0.02, 0.4), side * rng.uniform(0.0, 0.9))
        draw.text(place, letters, fill=colour, font=ImageFont.load_default(size))
