"""A design: how a cover should look, in a closed vocabulary that a model can choose from and a person can read. JSON in and out, validated.

After BOIG's descriptions (arXiv:2311.10995): colours with proportions, tones, objects, composition, style, and words to avoid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from icg.design.palette import NAMED
from icg.errors import IcgError

TENTHS = 10
MAX_COLOURS, MAX_OBJECTS, MAX_AVOID = 4, 3, 4
BRIGHTNESS, WARMTH, VIVIDNESS = ("dark", "balanced", "light"), ("cool", "neutral", "warm"), ("muted", "soft", "vivid")
TONES = (BRIGHTNESS, WARMTH, VIVIDNESS)
PLACES, SIZES = ("left", "centre", "right"), ("small", "medium", "large")
STYLES = ("3d", "painted", "flat", "ink")
AVOIDABLE = (*NAMED, *BRIGHTNESS, *WARMTH, *VIVIDNESS, *SIZES, *STYLES)
KEYS = ("colours", "tones", "objects", "place", "size", "style", "avoid")
MAX_TEXT = 2000


@dataclass(frozen=True)
class Design:
    """colours: up to 4 of (name, share in tenths), the largest first, together at most 10. tones: one each of BRIGHTNESS, WARMTH and
    VIVIDNESS. objects: up to 3, of at most 64 characters. avoid: up to 4 words that the design does not have.

    Raises IcgError naming the field, the value and what is allowed.
    """

    colours: tuple[tuple[str, int], ...]
    tones: tuple[str, str, str]
    objects: tuple[str, ...]
    place: str
    size: str
    style: str
    avoid: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [name for name, _ in self.colours]
        shares = [share for _, share in self.colours]
        if not 1 <= len(names) <= MAX_COLOURS or len(set(names)) != len(names) or not set(names) <= NAMED.keys():
            raise IcgError(f"colours={names}; allowed: 1 to {MAX_COLOURS} different ones of {', '.join(NAMED)}")
        if (
            any(type(s) is not int or s < 1 for s in shares)
            or sum(shares) > TENTHS
            or shares != sorted(shares, reverse=True)
        ):
            raise IcgError(
                f"shares of colours={shares}; allowed: tenths from 1, the largest first, at most {TENTHS} together"
            )
        for tone, choices in zip(self.tones, TONES, strict=True):
            _check_word("tones", tone, choices)
        if len(self.objects) > MAX_OBJECTS or not all(isinstance(o, str) and 0 < len(o) <= 64 for o in self.objects):
            raise IcgError(
                f"objects={list(self.objects)!r:.200}; allowed: at most {MAX_OBJECTS} names of 1 to 64 characters"
            )
        _check_word("place", self.place, PLACES)
        _check_word("size", self.size, SIZES)
        _check_word("style", self.style, STYLES)
        if len(self.avoid) > MAX_AVOID or len(set(self.avoid)) != len(self.avoid):
            raise IcgError(f"avoid={list(self.avoid)}; allowed: at most {MAX_AVOID} different words")
        used = {*names, *self.tones, self.size, self.style}
        for word in self.avoid:
            _check_word("avoid", word, tuple(choice for choice in AVOIDABLE if choice not in used))

    def to_json(self) -> str:
        """One line, without hex codes: the names define them."""
        values = [
            [list(c) for c in self.colours],
            list(self.tones),
            list(self.objects),
            self.place,
            self.size,
            self.style,
            list(self.avoid),
        ]
        return json.dumps(dict(zip(KEYS, values, strict=True)), ensure_ascii=False, separators=(",", ":"))

    def to_display(self) -> dict[str, Any]:
        """For people and programs: colours are objects with name, hex and share in 0..1."""
        colours = [{"name": n, "hex": NAMED[n], "share": s / TENTHS} for n, s in self.colours]
        return json.loads(self.to_json()) | {"colours": colours}

    @classmethod
    def from_json(cls, text: str) -> Design:
        """Read the text of `to_json`. Raises IcgError for anything else."""
        try:
            design = json.loads(text[: MAX_TEXT + 1])
        except (ValueError, RecursionError) as error:
            raise IcgError(f"design={text[:80]!r}: {error}; allowed: JSON of at most {MAX_TEXT} characters") from None
        if not isinstance(design, dict) or set(design) != set(KEYS):
            has = sorted(design) if isinstance(design, dict) else type(design).__name__
            raise IcgError(f"design has {has}; allowed: an object with {', '.join(KEYS)}")
        lists = {key: design[key] for key in ("colours", "tones", "objects", "avoid")}
        for key, value in lists.items():
            if not isinstance(value, list) or (key == "tones" and len(value) != len(TONES)):
                raise IcgError(
                    f"{key}={value!r:.80}; allowed: a list" + (f" of {len(TONES)}" if key == "tones" else "")
                )
        if not all(isinstance(c, list) and len(c) == 2 and isinstance(c[0], str) for c in design["colours"]):
            raise IcgError(f"colours={design['colours']!r:.80}; allowed: pairs of a name and tenths")
        light, warm, vivid = design["tones"]
        return cls(
            colours=tuple((c, s) for c, s in design["colours"]),
            tones=(light, warm, vivid),
            objects=tuple(design["objects"]),
            place=design["place"],
            size=design["size"],
            style=design["style"],
            avoid=tuple(design["avoid"]),
        )

    def phrase(self) -> str:
        """The words that are added to a title, for the adapter's text side."""
        colours = ", ".join(name for name, _ in self.colours[:2])
        return f"{self.style} style, {colours}, {' '.join(self.tones)}, {self.size}"


def _check_word(field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise IcgError(f"{field}={value!r:.80}; allowed: one of {', '.join(choices)}")
