"""Real heights of things, in metres, by the place where they stand. Rounded, from everyday knowledge; for drawn scenes.

Titles are those of `icg.data.art`, of things whose sprites stand upright and are seen from the side.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SIZES: dict[str, dict[str, float]] = json.loads((Path(__file__).parent / "sizes.json").read_text())
"""Place -> title -> height."""
WORDS = ((0.12, "tiny"), (0.25, "small"), (0.8, "medium"), (2.2, "large"), (float("inf"), "huge"))
"""A thing below this height is called so."""


def word(height: float) -> str:
    """Metres -> a size word."""
    return next(name for most, name in WORDS if height < most)


def held_out(title: str) -> bool:
    """True for the quarter of titles, chosen by a hash, that occur in held-out scenes only."""
    return int(hashlib.sha256(f"scenes:{title}".encode()).hexdigest(), 16) % 4 == 0
