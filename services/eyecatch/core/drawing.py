"""The knobs of one request to draw: their names, ranges and defaults. Knows no wire and no store.

A knob is one field of Drawing. The API and the topic of requests (messages.py), the queue's JSON (stores/json_codec.py), Triton's
tensors (generators/triton_wire.py) and the learning library (icg/draw/ask.py) pass knobs by name and do not list them again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from eyecatch.core.errors import Violation, shorten

RANGES = {"steps": (1, 100), "strength": (0, 1), "reference_strength": (0, 1), "guidance": (0, 20)}
"""Lowest and highest value, both allowed."""
MAX_AUDIENCE, MAX_NEGATIVE = 200, 512
EDGES, MULTIPLE = (32, 2048), 16
"""Pixels of an edge at least and at most; edges are multiples of MULTIPLE."""
TARGETS = ("low", "medium", "high")
PRODUCT = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")


@dataclass(frozen=True)
class Drawing:
    """How to draw, apart from the item, the user and the seed. The model chooses a knob that is None.

    steps: denoising steps. strength: of the personalisation. reference_strength: how far the cover is anchored in the item's own
    picture. inpaint: paint a scene around the item's product; not with reference_strength. product_id: a product that the generator
    was fine-tuned on, "" for none. target_kpi: the engagement to reach, one of TARGETS, "" for none in particular. guided: (from,
    to), the part of the steps that guidance is computed in, 0 to 1. guidance: how firmly to follow item and user. audience: a segment
    in words, at most MAX_AUDIENCE characters, "" for none. size: (width, height) that the model draws, which must be one of its
    checkpoint's. negative: words of what guidance moves away from, at most MAX_NEGATIVE characters, "" for the checkpoint's.
    """

    steps: int | None = None
    strength: float = 1.0
    reference_strength: float | None = None
    inpaint: bool = False
    product_id: str = ""
    target_kpi: str = ""
    guided: tuple[float, float] | None = None
    guidance: float | None = None
    audience: str = ""
    size: tuple[int, int] | None = None
    negative: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Drawing":
        """From knobs by name; other names are ignored, and a list (as JSON has it) becomes a tuple."""
        known: dict[str, Any] = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        tuples = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
        return cls(**known | tuples)

    def set_knobs(self) -> dict[str, Any]:
        """The knobs that differ from their defaults, by name."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    def violations(self, prefix: str = "") -> list[Violation]:
        """One Violation for each knob that is not allowed; its field is `prefix` and the knob's name."""
        refused: list[tuple[str, str]] = []
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # true for NaN too
                refused.append((name, f"{low} to {high}"))
        if self.product_id and not PRODUCT.fullmatch(self.product_id):
            allowed = "1 to 64 of a-z, 0-9, '-' and '_', a letter or digit first and last, or nothing"
            refused.append(("product_id", allowed))
        if self.target_kpi and self.target_kpi not in TARGETS:
            refused.append(("target_kpi", f"{', '.join(TARGETS)}, or nothing"))
        for name, most in (("audience", MAX_AUDIENCE), ("negative", MAX_NEGATIVE)):
            text = getattr(self, name)
            if len(text) > most or not (text or " ").isprintable():
                refused.append((name, f"at most {most} printable characters"))
        if any(edge % MULTIPLE or not EDGES[0] <= edge <= EDGES[1] for edge in self.size or ()):
            refused.append(("size", f"width and height, multiples of {MULTIPLE} from {EDGES[0]} to {EDGES[1]}"))
        if self.inpaint and self.reference_strength is not None:
            refused.append(("reference_strength", "none with inpaint"))
        return [Violation(prefix + name, shorten(getattr(self, name)), allowed) for name, allowed in refused]


DEFAULT = Drawing()
