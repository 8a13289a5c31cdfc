"""How high things are, in metres. Rounded, from everyday knowledge; for drawn scenes, and for products whose title does not say it.

SIZES has titles of `icg.data.art`, of things whose sprites stand upright and are seen from the side, by the place where they stand.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

SIZES: dict[str, dict[str, float]] = json.loads((Path(__file__).parent / "sizes.json").read_text())
"""Place -> title -> height."""
GOODS: dict[str, float] = json.loads((Path(__file__).parent / "goods.json").read_text())
"""Name of a kind of goods -> height."""
WORDS = ((0.12, "tiny"), (0.25, "small"), (0.8, "medium"), (2.2, "large"), (float("inf"), "huge"))
"""A thing below this height is called so."""


TYPICAL = {"tiny": 0.08, "small": 0.17, "medium": 0.42, "large": 1.3, "huge": 4.5}
"""Height of a thing that is called so, where nothing else is known."""
USUAL = 0.2
"""Height of a thing of which nothing is known: most goods are for a table."""
LEAST, MOST = 0.01, 50.0
_UNITS = {
    "mm": 0.001,
    "cm": 0.01,
    "m": 1.0,
    "in": 0.0254,
    "inch": 0.0254,
    "inches": 0.0254,
    "ft": 0.3048,
    "feet": 0.3048,
}
_LENGTH = re.compile(rf"(\d+(?:[.,]\d+)?)\s*-?({'|'.join(sorted(_UNITS, key=len, reverse=True))})\b(\s*(?:high|tall))?")
_NAMES = {name: height for sizes in SIZES.values() for name, height in sizes.items()} | GOODS
_LONGEST = max(len(name.split()) for name in _NAMES)


def metres(title: str) -> float:
    """The height of what a title names, LEAST..MOST: a length that it says, before all one called high or tall; or that of the last thing
    it names; or of a size word; else USUAL."""
    title = title.lower()
    lengths = [(bool(high), float(n.replace(",", ".")) * _UNITS[unit]) for n, unit, high in _LENGTH.findall(title)]
    if lengths:
        return min(max(max(lengths, key=lambda length: length[0])[1], LEAST), MOST)
    words = re.findall(r"[a-z]+", title)
    for end in range(len(words), 0, -1):
        for start in range(max(0, end - _LONGEST), end):
            name = " ".join(words[start:end])
            if name in _NAMES:
                return _NAMES[name]
    return next((TYPICAL[word] for word in words if word in TYPICAL), USUAL)


def word(height: float) -> str:
    """Metres -> a size word."""
    return next(name for most, name in WORDS if height < most)


def held_out(title: str) -> bool:
    """True for the quarter of titles, chosen by a hash, that occur in held-out scenes only."""
    return int(hashlib.sha256(f"scenes:{title}".encode()).hexdigest(), 16) % 4 == 0
