"""How similar covers are to their product: methods of icg.products and the untuned starter, on things outside all training data.

    icg train product-identity --out runs/products [--seeds 2] [--smoke]

Identity: cosine of covers and held-out pictures of the same product by the dual encoder's features. Colours: an independent measure, the
cover's share of the product's Lab histogram. Finished products are not trained again. The last line is one JSON object.
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

TRAINING, HELD_OUT = 5, 6
"""Pictures for training, and others to compare covers with."""
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
"""A title -> COVERS covers, with the same seeds for every method."""


@dataclass(frozen=True, eq=False)
class ProductLook:
    """Unit rows (N, D) of a product's held-out pictures, and its colours."""

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

    found: share of covers that are nearest to their own product. alignment: cosine with the words of a scene, minus that of covers without
    it. class: identity of covers of the class alone, with the product's weights (lower: less of the class was overwritten). seconds_ and
    memory_mb_ of training. `products_<figure>` has the value of every product. Trains the products that `folder` lacks.
    """
    methods = METHODS if methods is None else methods
    parts = parts or starter.load()
    library, looks = folder / "library", {thing.id: look(parts, thing) for thing in products}
    each: dict[str, list[float]] = {}

    def note(name: str, method: str, value: float) -> None:
        each.setdefault(f"{name}_{method}", []).append(float(value))

    for thing in products:
        training = folder / "pictures" / thing.id
        training.mkdir(parents=True, exist_ok=True)
        for n, picture in enumerate(pictures(thing, TRAINING)):
            picture.save(training / f"{n}.png")
        real = [Image.open(training / f"{n}.png").convert("RGB") for n in range(TRAINING)]
        judge(parts, looks, thing, "real", lambda _, real=real: real, note, scenes=False)
        for name, brief in untuned(thing).items():
            judge(parts, looks, thing, name, drawing(parts, brief, seed, covers), note)
        for name, settings in methods.items():
            id = f"{thing.id}-{name.replace('_', '-')}-{seed}"
            product = record.read(library, id) or fine_tune(
                library, parts, id, thing.kind, [training], replace(settings, seed=seed)
            )
            brief = Brief("x", product_id=id)
            parts.pipeline.products = Library(library)
            judge(parts, looks, thing, name, drawing(parts, brief, seed, covers), note)
            parts.pipeline.products = ClassAlone(library)
            images = drawing(parts, brief, seed, covers)(f"a {thing.kind}")
            note("class", name, identity(parts, images, looks[thing.id]))
            note("seconds", name, product.seconds)
            note("memory_mb", name, product.memory_mb)
        parts.pipeline.products = None
    means: dict[str, float] = {name: float(np.mean(values)) for name, values in each.items()}
    return means | {f"products_{name}": values for name, values in each.items()}  # type: ignore[dict-item]


def untuned(thing: Thing) -> dict[str, Brief]:
    """Briefs for the untuned starter: with the title, with a picture on white that is read, and with that picture as an anchor."""
    picture = on_white(np.asarray(cut_out(thing)))
    anchor = anchoring((picture,))
    return {
        "untuned": Brief("x"),
        "untuned_read": Brief("x", (picture,)),
        "untuned_set_in": Brief("x", (picture,), **anchor),
    }


def drawing(parts: Starter, brief: Brief, seed: int, covers: int) -> Draw:
    """Draws covers of `brief` with another title."""

    def draw(title: str) -> list[Image.Image]:
        return parts.pipeline([replace(brief, title=title, seed=1000 * seed + n) for n in range(covers)])

    return draw


def judge(
    parts: Starter,
    looks: dict[str, ProductLook],
    thing: Thing,
    name: str,
    draw: Draw,
    note: Callable[[str, str, float], None],
    scenes: bool = True,
) -> None:
    """Note every figure of one product and method."""
    word = thing.kind if "untuned" in name else PLACE
    plain = draw(f"a {word}")
    rows = features(parts.embedding, plain)
    every = np.stack([(rows @ look.rows.T).mean(1) for look in looks.values()])
    note("identity", name, float((rows @ looks[thing.id].rows.T).mean()))
    note("found", name, float((every.argmax(0) == list(looks).index(thing.id)).mean()))
    note("colours", name, float(np.mean([colours(c, looks[thing.id].colours) for c in plain])))
    if scenes:
        in_scenes = {scene: draw(f"a {word} {scene}") for scene in SCENES}
        covers = [cover for images in in_scenes.values() for cover in images]
        note("identity_in_scenes", name, identity(parts, covers, looks[thing.id]))
        words = parts.embedding.texts(list(SCENES))
        cosines = [(parts.embedding.images(in_scenes[s]) @ w).mean() for s, w in zip(SCENES, words, strict=True)]
        without = (parts.embedding.images(plain) @ words.T).mean()
        note("alignment", name, float(np.mean([float(c) for c in cosines]) - without))


def identity(parts: Starter, covers: Sequence[Image.Image], reference: ProductLook) -> float:
    """Mean cosine of covers and held-out pictures."""
    return float((features(parts.embedding, covers) @ reference.rows.T).mean())


@cache
def _held_out(thing: Thing) -> list[Image.Image]:
    return pictures(thing, HELD_OUT, seed=1)


def look(parts: Starter, thing: Thing) -> ProductLook:
    """The look from held-out pictures."""
    alone = cut_out(thing)
    pixels = np.asarray(alone)[np.asarray(alone.getchannel("A")) > 128][:, :3]
    return ProductLook(features(parts.embedding, _held_out(thing)), histogram(Image.fromarray(pixels[None])))


def histogram(picture: Image.Image, bins: int = 6) -> np.ndarray:
    """(bins^3,) shares of Lab colours."""
    from PIL import ImageCms

    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = np.asarray(ImageCms.applyTransform(picture.convert("RGB"), to_lab), np.uint8).reshape(-1, 3).astype(int)
    lab[:, 1:] = (lab[:, 1:] + 128) % 256  # a and b are signed
    place = (lab * bins // 256) @ np.array([bins * bins, bins, 1])
    return np.bincount(place, minlength=bins**3) / len(place)


def colours(cover: Image.Image, product: np.ndarray, share: float = 0.3) -> float:
    """0..1: how much of the product's colours (a histogram) the cover has, if the product fills `share` of it."""
    return float(np.minimum(histogram(cover) / share, product).sum())


class ClassAlone(Library):
    """Products with their weights, whose titles name only their class."""

    def get(self, id: str) -> TrainedProduct:
        """See Library.get."""
        return _UnnamedProduct(super().get(id).record, super().get(id).tensors)


class _UnnamedProduct(TrainedProduct):
    @property
    def vectors(self) -> None:
        """None: the title does not name the product."""

    def texts(self, title: str) -> tuple[str, str]:
        """The title with the class in the product's place."""
        return self.record.plain(title), ""


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train product-identity`."""
    parser = Flags(
        __name__, __doc__, out="folder for trained products, which are reused", seeds=1, products=len(THINGS)
    )
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas")
    args = parser.parse_args(argv)
    methods, things = {name: METHODS[name] for name in args.methods.split(",")}, THINGS[: args.products]
    if args.smoke:
        methods, things = {name: smoke(settings) for name, settings in methods.items()}, THINGS[:2]
    covers = 1 if args.smoke else COVERS
    results = [evaluate(seed, things, args.out, methods, covers=covers) for seed in range(args.seeds)]
    (args.out / "figures.json").write_text(json.dumps(results, indent=2))
    names = [name for name in results[0] if not name.startswith("products_")]
    print(json.dumps({name: round(float(np.mean([figures[name] for figures in results])), 4) for name in names}))
