"""Drawn product pictures with known truth: cut-outs on a ground beside props of known real size, whole or with one intended defect.

Replaces RF1M (arXiv:2408.00418, Section 3) if that data is not available: the same classes, inputs and captions. In addition it has
what no photograph has: true depth and saliency, a defect's severity, and the geometry that decides the class (`exact`). Endless,
seeded, no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from icg.data.art import Subject
from icg.data.sizes import SIZES, held_out, word
from icg.errors import IcgError
from icg.reliability.labels import Availability
from icg.reliability.scenes import staging
from icg.reliability.scenes.ground import Place
from icg.reliability.scenes.studios import StudioPlace

SIDE = 128
TALL = (0.26, 0.5)
"""Range of a product's height at its true size, in shares of the side."""
GAP, SCALE, CONTRAST, EXTRA = 0.1, 1.35, 24.0, 0.08
"""Where a defect begins: gap to the ground over height, scale too large or small, distance of colours (0..255), added area."""


@dataclass(frozen=True)
class Geometry:
    """A scene in numbers.

    gap: from the product's foot to the ground, over its height; negative if it is sunk. scale: its size over the true one. contrast: mean
    distance of its colours from its surroundings, 0..255. extra: added area over its area. whole: share of its cut-out that is left, 0..1.
    """

    gap: float = 0.0
    scale: float = 1.0
    contrast: float = 255.0
    extra: float = 0.0
    whole: float = 1.0


@dataclass(frozen=True, eq=False)
class Scene:
    """picture: RGB. bare: the same without the product and its shadow. product: RGBA cut-out, of the same size. placed: RGBA, the
    product at its place in the picture, without a defect's addition. depth, saliency: (side, side) float32 in 0..1; depth is nearness, as
    of monocular models (1 nearest). severity: 0 for an available scene, up to 1 for an obvious defect. metre: length of a metre at depth
    1, in shares of the side; d times that at depth d."""

    picture: Image.Image
    bare: Image.Image
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
    """The class by rules."""
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
    """All scenes of these subjects. held: use only held-out products and props. classes: 5, or 6 with unsuitable ones. available: share
    of scenes without a defect. side: pixels of a picture's edge. studios: share of the scenes that
    are in the starter's palettes, like its studios.

    Raises IcgError if no place has a product and two props among the subjects.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        held: bool = False,
        classes: int = 5,
        available: float = 0.4,
        side: int = SIDE,
        studios: float = 0.0,
    ) -> None:
        sized = {title for sizes in SIZES.values() for title in sizes if held_out(title) == held}
        known = {s.title: s for s in subjects if s.title in sized}
        self._places = [
            (kind, things, sizes)
            for kind, sizes in SIZES.items()
            if len(things := [known[title] for title in sizes if title in known]) >= 3
        ]
        if not self._places:
            raise IcgError(
                f"subjects={len(subjects)} with {len(known)} of known size; allowed: three of one place in data/sizes.py"
            )
        self.classes, self._available, self._side, self._studios = classes, available, side, studios

    def stream(self, seed: int, count: int) -> Iterator[Scene]:
        """`count` scenes; the n-th depends on seed and n only."""
        return (self.scene(seed, number) for number in range(count))

    def scene(self, seed: int, number: int) -> Scene:
        """The scene of this number."""
        rng = np.random.default_rng((seed, number))
        label = Availability.AVAILABLE
        if rng.random() >= self._available:
            label = Availability(int(rng.integers(1, self.classes)))
        for _ in range(40):
            scene = self._draw(rng, label, float(rng.uniform(0.15, 1)) if label else 0.0)
            if exact(scene.geometry) is label:
                return scene
        raise IcgError(f"scene {number} of seed {seed}: no {label.name} came out in 40 tries")

    def _draw(self, rng: np.random.Generator, label: Availability, severity: float) -> Scene:
        kind, things, sizes = self._places[int(rng.integers(len(self._places)))]
        product, *others = [things[int(n)] for n in rng.permutation(len(things))]
        sprite = staging.cropped(staging.sprite(product, rng))
        height = sizes[product.title]
        near = None
        if label is Availability.INDISTINCTIVENESS and rng.random() < 0.6:
            near = staging.mean_colour(sprite)
        in_studio = near is None and self._studios > 0 and rng.random() < self._studios
        place = StudioPlace.any(kind, rng) if in_studio else Place.random(rng, near)
        stage = staging.Stage(place, rng, self._side)
        foot = float(rng.uniform(max(place.edge + 0.12, 0.62), 0.93))
        metre = float(rng.uniform(*TALL)) / height / float(place.disparity(foot))  # of the side, at its lower edge
        item = staging.Item(sprite, foot, float(rng.uniform(0.3, 0.7)), metre * height * float(place.disparity(foot)))
        geometry, moved = Geometry(), None
        if label is Availability.SPACE_MISMATCH:
            gap = (0.12 + 0.7 * severity) if rng.random() < 0.7 else -(0.12 + 0.4 * severity)
            item, geometry = replace(item, gap=gap), replace(geometry, gap=gap)
        elif label is Availability.SIZE_MISMATCH:
            scale = 1.4 + 1.8 * severity
            scale = scale if rng.random() < 0.5 and item.height * scale < 0.95 else 1 / scale
            item, geometry = replace(item, height=item.height * scale), replace(geometry, scale=scale)
        elif label is Availability.SHAPE_HALLUCINATION:
            larger, extra = staging.extended(sprite, severity, rng)
            taller = larger.shape[0] / sprite.shape[0]
            wider = (larger.shape[1] - sprite.shape[1]) / sprite.shape[0] * item.height
            moved = replace(item, x=item.x - wider / 2)
            item, geometry = replace(item, sprite=larger, height=item.height * taller), replace(geometry, extra=extra)
        elif label is Availability.UNSUITABLE:
            sprite, whole = staging.spoiled(sprite, severity, rng)
            item, geometry = replace(item, sprite=sprite), replace(geometry, whole=whole)
        props = self._props(stage, item, metre, others, sizes, rng)
        fade = 0.0
        if label is Availability.INDISTINCTIVENESS:
            fade = 0.25 + 0.6 * severity
            if near is None:
                stage.clutter(item, [staging.cropped(staging.sprite(s, rng)) for s in others[:4]], severity)
        bare, mask = stage.picture(), stage.put(item, fade)
        contrast = staging.contrast(stage.picture(), mask)
        return Scene(
            picture=stage.picture(),
            bare=bare,
            product=staging.framed(sprite, self._side),
            placed=stage.alone(moved or item),
            depth=stage.depth,
            saliency=stage.saliency(mask, min(1.0, contrast / 60)),
            caption=caption(product.title, height, rng),
            label=label,
            severity=severity,
            title=product.title,
            props=tuple(p.title for p in props),
            geometry=replace(geometry, contrast=contrast),
            metre=metre,
        )

    def _props(
        self,
        stage: staging.Stage,
        item: staging.Item,
        metre: float,
        others: Sequence[Subject],
        sizes: dict[str, float],
        rng: np.random.Generator,
    ) -> list[Subject]:
        """Put up to three objects of true size beside and behind the product, none that would fill the picture or be a dot."""
        props: list[tuple[staging.Item, Subject]] = []
        count = int(rng.integers(2, 4))
        for subject in others:
            if len(props) == count:
                break
            foot = float(rng.uniform(stage.place.edge + 0.04, item.foot))
            height = metre * sizes[subject.title] * float(stage.place.disparity(foot))
            if not 0.1 < height < 0.75:
                continue
            prop = staging.Item(
                staging.cropped(staging.sprite(subject, rng)), foot, float(rng.uniform(0.05, 0.95)), height
            )
            if all(prop.apart(other) for other in (item, *(p for p, _ in props))):
                props.append((prop, subject))
        for prop, _ in sorted(props, key=lambda pair: pair[0].foot):
            stage.put(prop)
        return [subject for _, subject in props]


def caption(title: str, height: float, rng: np.random.Generator) -> str:
    """A shop's caption: the object and its size."""
    size = f"{height * 100:.0f} cm" if height < 1 else f"{height:.1f} m"
    return str(rng.choice([f"{word(height)} {title}, {size} high", f"{title} ({size})", f"{word(height)} {title}"]))
