"""How like the product its covers are: methods of icg.products against the untuned starter, on things that nothing was trained on.

    icg train product-identity --out runs/products [--seeds 2] [--smoke]

Identity: cosine of covers and held-out pictures of the same product by what the dual encoder sees. Colours, a second measure that shares
nothing with it: how much of the product's Lab histogram the cover has. Kept runs are not trained again. The last line is one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from icg import starter
from icg.brief import Brief
from icg.data.art import on_white
from icg.draw.ask import anchoring
from icg.products import record
from icg.products.library import Library, TrainedProduct
from icg.products.pictures import features
from icg.products.record import DREAMBOOTH, FULL, PLACE, TEXTUAL_INVERSION
from icg.starter import Starter
from icg.train.flags import Flags
from icg.train.products.art import THINGS, Thing, cut_out, pictures
from icg.train.products.fine_tune import fine_tune
from icg.train.products.tuning import Settings, smoke

SHOWN, HELD_OUT = 5, 6
"""Pictures that are trained on, and others that covers are compared with."""
SCENES = ("on a beach", "with snowflakes", "under a rainbow", "beside a palm tree")
COVERS = 4
METHODS: dict[str, Settings] = {
    "textual_inversion": Settings(TEXTUAL_INVERSION),
    "dreambooth": Settings(DREAMBOOTH),
    "dreambooth_no_prior": Settings(DREAMBOOTH, prior=False),
    "full": Settings(FULL),
    "full_no_prior": Settings(FULL, prior=False),
}
Draw = Callable[[str], list[Image.Image]]
"""A title to COVERS covers, of seeds that are the same for every method."""


@dataclass(frozen=True, eq=False)
class Look:
    """Of one product: unit rows (N, D) of its held-out pictures, and its colours."""

    rows: np.ndarray
    colours: np.ndarray


def evaluate(
    seed: int = 0,
    products: Sequence[Thing] = THINGS,
    folder: Path = Path("runs/products"),
    methods: dict[str, Settings] | None = None,
    parts: Starter | None = None,
    covers: int = COVERS,
) -> dict[str, float]:
    """Means over products: identity_, colours_, found_, alignment_ and class_ of each method and of the untuned starter.

    found: the share of covers nearest to their own product. alignment: cosine with the words of a scene, less that of the covers without
    it. class: identity of covers that ask for the class alone, under the product's weights (lower: less of the class was overwritten).
    seconds_ and memory_mb_ of training. `products_<figure>` holds the value of every product. Trains what `folder` does not have yet.
    """
    methods = METHODS if methods is None else methods
    parts = parts or starter.load()
    library, looks = folder / "library", {thing.id: look(parts, thing) for thing in products}
    each: dict[str, list[float]] = {}

    def note(name: str, method: str, value: float) -> None:
        each.setdefault(f"{name}_{method}", []).append(float(value))

    for thing in products:
        shown = folder / "pictures" / thing.id
        shown.mkdir(parents=True, exist_ok=True)
        for n, picture in enumerate(pictures(thing, SHOWN)):
            picture.save(shown / f"{n}.png")
        given = [Image.open(shown / f"{n}.png").convert("RGB") for n in range(SHOWN)]
        judge(parts, looks, thing, "real", lambda _, given=given: given, note, scenes=False)
        for name, brief in untuned(thing).items():
            judge(parts, looks, thing, name, drawing(parts, brief, seed, covers), note)
        for name, settings in methods.items():
            id = f"{thing.id}-{name.replace('_', '-')}-{seed}"
            made = record.read(library, id) or fine_tune(
                library, parts, id, thing.kind, [shown], replace(settings, seed=seed)
            )
            brief = Brief("x", product_id=id)
            parts.pipeline.products = Library(library)
            judge(parts, looks, thing, name, drawing(parts, brief, seed, covers), note)
            parts.pipeline.products = ClassAlone(library)
            drawn = drawing(parts, brief, seed, covers)(f"a {thing.kind}")
            note("class", name, identity(parts, drawn, looks[thing.id]))
            note("seconds", name, made.seconds)
            note("memory_mb", name, made.memory_mb)
        parts.pipeline.products = None
    found: dict[str, float] = {name: float(np.mean(values)) for name, values in each.items()}
    return found | {f"products_{name}": values for name, values in each.items()}  # type: ignore[dict-item]


def untuned(thing: Thing) -> dict[str, Brief]:
    """What the starter does without training: with the title, with a picture on white that is read, and with that picture set in."""
    picture = on_white(np.asarray(cut_out(thing)))
    how = anchoring((picture,))
    return {
        "untuned": Brief("x"),
        "untuned_read": Brief("x", (picture,)),
        "untuned_set_in": Brief("x", (picture,), **how),
    }


def drawing(parts: Starter, brief: Brief, seed: int, covers: int) -> Draw:
    """Covers as `brief` says, of another title."""

    def draw(title: str) -> list[Image.Image]:
        return parts.pipeline([replace(brief, title=title, seed=1000 * seed + n) for n in range(covers)])

    return draw


def judge(
    parts: Starter, looks: dict[str, Look], thing: Thing, name: str, draw: Draw,
    note: Callable[[str, str, float], None], scenes: bool = True,
) -> None:  # fmt: skip
    """Note every figure of one product and method."""
    said = thing.kind if "untuned" in name else PLACE
    plain = draw(f"a {said}")
    seen = features(parts.embedding, plain)
    near = {id: float((seen @ other.rows.T).mean()) for id, other in looks.items()}
    every = np.stack([(seen @ other.rows.T).mean(1) for other in looks.values()])
    note("identity", name, near[thing.id])
    note("found", name, float((every.argmax(0) == list(looks).index(thing.id)).mean()))
    note("colours", name, float(np.mean([colours(c, looks[thing.id].colours) for c in plain])))
    if scenes:
        placed = {scene: draw(f"a {said} {scene}") for scene in SCENES}
        covers = [cover for drawn in placed.values() for cover in drawn]
        note("identity_in_scenes", name, identity(parts, covers, looks[thing.id]))
        words = parts.embedding.texts(list(SCENES))
        with_it = [float((parts.embedding.images(placed[s]) @ w).mean()) for s, w in zip(SCENES, words, strict=True)]
        without = (parts.embedding.images(plain) @ words.T).mean()
        note("alignment", name, float(np.mean(with_it) - without))


def identity(parts: Starter, covers: Sequence[Image.Image], own: Look) -> float:
    """Mean cosine of covers and held-out pictures."""
    return float((features(parts.embedding, covers) @ own.rows.T).mean())


@cache
def _held_out(thing: Thing) -> list[Image.Image]:
    return pictures(thing, HELD_OUT, seed=1)


def look(parts: Starter, thing: Thing) -> Look:
    """Of pictures that nothing is trained on."""
    alone = cut_out(thing)
    pixels = np.asarray(alone)[np.asarray(alone.getchannel("A")) > 128][:, :3]
    return Look(features(parts.embedding, _held_out(thing)), histogram(Image.fromarray(pixels[None])))


def histogram(picture: Image.Image, bins: int = 6) -> np.ndarray:
    """(bins^3,) shares of Lab colours."""
    from PIL import ImageCms

    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = np.asarray(ImageCms.applyTransform(picture.convert("RGB"), to_lab), np.uint8).reshape(-1, 3).astype(int)
    lab[:, 1:] = (lab[:, 1:] + 128) % 256  # a and b are signed
    place = (lab * bins // 256) @ np.array([bins * bins, bins, 1])
    return np.bincount(place, minlength=bins**3) / len(place)


def colours(cover: Image.Image, wanted: np.ndarray, share: float = 0.3) -> float:
    """0..1: how much of the product's colours the cover has, where the product is expected to fill `share` of it."""
    return float(np.minimum(histogram(cover) / share, wanted).sum())


class ClassAlone(Library):
    """Products whose weights are on while a title asks for their class alone."""

    def get(self, id: str) -> TrainedProduct:
        """See Library."""
        return _Unnamed(super().get(id).record, super().get(id).tensors)


class _Unnamed(TrainedProduct):
    @property
    def vectors(self) -> None:
        """They are not in the title."""

    def texts(self, title: str) -> tuple[str, str]:
        """The title in words that anybody knows."""
        return self.record.plain(title), ""


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train product-identity`."""
    parser = Flags(
        __name__, __doc__, out="trained products are kept there, and used again", seeds=1, products=len(THINGS)
    )
    parser.add_argument("--methods", default=",".join(METHODS), help="by commas")
    given = parser.parse_args(argv)
    methods, things = {name: METHODS[name] for name in given.methods.split(",")}, THINGS[: given.products]
    if given.smoke:
        methods, things = {name: smoke(settings) for name, settings in methods.items()}, THINGS[:2]
    covers = 1 if given.smoke else COVERS
    found = [evaluate(seed, things, given.out, methods, covers=covers) for seed in range(given.seeds)]
    (given.out / "figures.json").write_text(json.dumps(found, indent=2))
    names = [name for name in found[0] if not name.startswith("products_")]
    print(json.dumps({name: round(float(np.mean([one[name] for one in found])), 4) for name in names}))
