"""Briefs that inpaint a scene around a product, and the split of products into training, validation and test.

Used by RFFT and its evaluation. Knows no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.data.art import STYLES, Subject
from icg.data.sizes import SIZES, held_out
from icg.reliability.scenes.scenes import caption

PARTS = ("train", "valid", "held")
"""Products for fine-tuning, for the choice of beta, learning rate and steps, and for the final test only."""
HEIGHT = {title: height for sizes in SIZES.values() for title, height in sizes.items()}
"""Metres, by product."""


def part(title: str) -> str:
    """One of PARTS, by a hash: "held" has the products of held-out scenes, "valid" a fifth of the others."""
    if held_out(title):
        return "held"
    return "valid" if int(hashlib.sha256(f"rfft:{title}".encode()).hexdigest(), 16) % 5 == 0 else "train"


def products(subjects: Sequence[Subject], name: str) -> list[Subject]:
    """The subjects of known size in this part."""
    return [s for s in subjects if s.title in HEIGHT and part(s.title) == name]


def briefs(
    subjects: Sequence[Subject],
    count: int,
    rng: np.random.Generator,
    steps: int = Brief.steps,
    size: tuple[int, int] = Brief.size,
) -> list[Brief]:
    """`count` product briefs: a cut-out in one of the coloured styles, and a shop's caption."""
    result = []
    for _ in range(count):
        subject = subjects[int(rng.integers(len(subjects)))]
        cut = Image.fromarray(np.ascontiguousarray(subject.sprites[STYLES[int(rng.integers(3))]]))
        title = caption(subject.title, HEIGHT[subject.title], rng)
        seed = int(rng.integers(1 << 31))
        result.append(Brief(title, seed=seed, steps=steps, size=size, product=cut, inpaint=True))
    return result


def repeated(briefs: Sequence[Brief], each: int) -> list[Brief]:
    """Each brief `each` times in a row, with different seeds and therefore product positions."""
    return [replace(b, seed=(b.seed + n) % 2**31) for b in briefs for n in range(each)]
