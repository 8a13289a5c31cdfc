"""Made-up product pictures with known truth: cut-outs on a ground beside props of known real size, whole or with one defect on purpose.

Stands in for RF1M (arXiv:2408.00418, Section 3) where that data is not at hand: the same classes, inputs and captions, and besides, what no
photograph tells: true depth and saliency, how bad a defect is, and the geometry it can be told from (`exact`). Endless, seeded, no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from icg.data.art import Subject
from icg.errors import IcgError
from icg.reliability.labels import Availability
from icg.reliability.scenes import staging
from icg.reliability.scenes.ground import Place
from icg.reliability.scenes.sizes import SIZES, held_out, word

SIDE = 128
TALL = (0.26, 0.5)
"""A product's height in shares of the side, were it the size it is."""
GAP, SCALE, CONTRAST, EXTRA = 0.1, 1.35, 24.0, 0.08
"""Where a defect begins: gap to the ground over height, scale too large or small, distance of colours (0..255), area that was added."""


@dataclass(frozen=True)
class Geometry:
    """What a scene is, in numbers.

    gap: of the product's foot to the ground, over its height; negative where it is sunk. scale: its size over the true one. contrast: mean
    distance of its colours from what is around it, 0..255. extra: what was added to it, over its area. whole: of its cut-out, 0..1.
    """

    gap: float = 0.0
    scale: float = 1.0
    contrast: float = 255.0
    extra: float = 0.0
    whole: float = 1.0


@dataclass(frozen=True, eq=False)
class Scene:
    """picture: RGB. product: RGBA cut-out, (SIDE, SIDE). placed: the same where it stands in the picture, RGBA, without what a defect
    added to it. depth, saliency: (SIDE, SIDE) float32 in 0..1; depth is nearness, as
    monocular models tell it (1 nearest). severity: 0 for an available one, up to 1 for what nobody overlooks. metre: how much of the
    side a metre takes at depth 1; at depth d it takes d of that."""

    picture: Image.Image
    product: Image.Image
    placed: Image.Image
    depth: np.ndarray
    saliency: np.ndarray
    caption: str
    label: Availability
    severity: float
    title: str
    props: tuple[str, ...]
    geometry: Geometry
    metre: float


def exact(geometry: Geometry) -> Availability:
    """The class by rule."""
    if geometry.whole < 0.85:
        return Availability.UNSUITABLE
    if geometry.extra > EXTRA:
        return Availability.SHAPE_HALLUCINATION
    if abs(geometry.gap) > GAP:
        return Availability.SPACE_MISMATCH
    if not 1 / SCALE < geometry.scale < SCALE:
        return Availability.SIZE_MISMATCH
    return Availability.INDISTINCTIVENESS if geometry.contrast < CONTRAST else Availability.AVAILABLE


class Scenes:
    """All scenes of these subjects. `held`: of products and props that the others do not have. `classes`: 5, or 6 with unsuitable ones.

    Raises IcgError where no place has a product and two props among them.
    """

    def __init__(
        self, subjects: Sequence[Subject], held: bool = False, classes: int = 5, available: float = 0.4
    ) -> None:
        sized = {title for sizes in SIZES.values() for title in sizes if held_out(title) == held}
        known = {s.title: s for s in subjects if s.title in sized}
        self._places = [
            (there, sizes)
            for sizes in SIZES.values()
            if len(there := [known[title] for title in sizes if title in known]) >= 3
        ]
        if not self._places:
            raise IcgError(
                f"subjects={len(subjects)} with {len(known)} of known size; allowed: three of one place in data/sizes.py"
            )
        self.classes, self._available = classes, available

    def stream(self, seed: int, count: int) -> Iterator[Scene]:
        """`count` scenes, of which the n-th depends on seed and n alone."""
        return (self.scene(seed, number) for number in range(count))

    def scene(self, seed: int, number: int) -> Scene:
        """One of them."""
        rng = np.random.default_rng((seed, number))
        label = Availability.AVAILABLE
        if rng.random() >= self._available:
            label = Availability(int(rng.integers(1, self.classes)))
        for _ in range(40):
            made = self._made(rng, label, float(rng.uniform(0.15, 1)) if label else 0.0)
            if exact(made.geometry) is label:
                return made
        raise IcgError(f"scene {number} of seed {seed}: no {label.name} came out in 40 tries")

    def _made(self, rng: np.random.Generator, label: Availability, severity: float) -> Scene:
        there, sizes = self._places[int(rng.integers(len(self._places)))]
        chosen = [there[int(n)] for n in rng.permutation(len(there))]
        product, others = chosen[0], chosen[1:]
        sprite = staging.cropped(staging.sprite(product, rng))
        height = sizes[product.title]
        near = None
        if label is Availability.INDISTINCTIVENESS and rng.random() < 0.6:
            near = staging.mean_colour(sprite)
        place = Place.drawn(rng, near)
        stage = staging.Stage(place, rng, SIDE)
        foot = float(rng.uniform(max(place.edge + 0.12, 0.62), 0.93))
        metre = float(rng.uniform(*TALL)) / height / float(place.disparity(foot))  # of the side, at the lower rim
        item = staging.Item(sprite, foot, float(rng.uniform(0.3, 0.7)), metre * height * float(place.disparity(foot)))
        told, own = Geometry(), None
        if label is Availability.SPACE_MISMATCH:
            gap = (0.12 + 0.7 * severity) if rng.random() < 0.7 else -(0.12 + 0.4 * severity)
            item, told = replace(item, gap=gap), replace(told, gap=gap)
        elif label is Availability.SIZE_MISMATCH:
            scale = 1.4 + 1.8 * severity
            scale = scale if rng.random() < 0.5 and item.height * scale < 0.95 else 1 / scale
            item, told = replace(item, height=item.height * scale), replace(told, scale=scale)
        elif label is Availability.SHAPE_HALLUCINATION:
            shown, extra = staging.extended(sprite, severity, rng)
            grown = shown.shape[0] / sprite.shape[0]
            wider = (shown.shape[1] - sprite.shape[1]) / sprite.shape[0] * item.height
            own = replace(item, x=item.x - wider / 2)
            item, told = replace(item, sprite=shown, height=item.height * grown), replace(told, extra=extra)
        elif label is Availability.UNSUITABLE:
            sprite, whole = staging.spoiled(sprite, severity, rng)
            item, told = replace(item, sprite=sprite), replace(told, whole=whole)
        props = self._props(stage, item, metre, others, sizes, rng)
        fade = 0.0
        if label is Availability.INDISTINCTIVENESS:
            fade = 0.25 + 0.6 * severity
            if near is None:
                stage.clutter(item, [staging.cropped(staging.sprite(s, rng)) for s in others[:4]], severity)
        mask = stage.put(item, fade)
        around = staging.contrast(stage.picture(), mask)
        told = replace(told, contrast=around)
        saliency = stage.saliency(mask, min(1.0, around / 60))
        return Scene(
            stage.picture(), staging.framed(sprite, SIDE), stage.alone(own or item), stage.depth, saliency,
            caption(product.title, height, rng), label, severity, product.title, tuple(p.title for p in props), told, metre,
        )  # fmt: skip

    def _props(
        self, stage: staging.Stage, item: staging.Item, metre: float, others: Sequence[Subject], sizes: dict[str, float],
        rng: np.random.Generator,
    ) -> list[Subject]:  # fmt: skip
        """Up to three things of true size beside and behind the product; what would fill the picture or be a dot stays away."""
        found: list[tuple[staging.Item, Subject]] = []
        wanted = int(rng.integers(2, 4))
        for subject in others:
            if len(found) == wanted:
                break
            foot = float(rng.uniform(stage.place.edge + 0.04, item.foot))
            height = metre * sizes[subject.title] * float(stage.place.disparity(foot))
            if not 0.1 < height < 0.75:
                continue
            made = staging.Item(
                staging.cropped(staging.sprite(subject, rng)), foot, float(rng.uniform(0.05, 0.95)), height
            )
            if all(made.apart(other) for other in (item, *(f for f, _ in found))):
                found.append((made, subject))
        for made, _ in sorted(found, key=lambda pair: pair[0].foot):
            stage.put(made)
        return [subject for _, subject in found]


def caption(title: str, height: float, rng: np.random.Generator) -> str:
    """What a shop would write: the thing and how large it is."""
    how = f"{height * 100:.0f} cm" if height < 1 else f"{height:.1f} m"
    return str(rng.choice([f"{word(height)} {title}, {how} high", f"{title} ({how})", f"{word(height)} {title}"]))
