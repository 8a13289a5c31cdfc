"""Recipe: one product from a few pictures, by Textual Inversion or DreamBooth (arXiv:2208.01618, 2208.12242, 2106.09685).

    icg train product --pictures shop/mug --class mug --id blue-mug --out products
        [--method textual-inversion] [--no-prior] [--smoke]

The verb behind `icg product train`, with every number open. Without --pictures one of the things that icg.train.products.art draws.
Interrupted, the same command goes on. Leaves OUT/ID/ and prints its record as one JSON object.
"""

from __future__ import annotations

import json
from argparse import BooleanOptionalAction
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from icg import starter
from icg.errors import IcgError
from icg.products.record import METHODS
from icg.train.flags import Flags
from icg.train.products.art import THINGS, pictures
from icg.train.products.fine_tune import fine_tune
from icg.train.products.tuning import DEFAULTS, Settings, smoke


def drawn(thing: str, folder: Path, count: int = 5) -> Path:
    """A folder of pictures of one of THINGS, by id; IcgError for one that is none."""
    found = next((one for one in THINGS if one.id == thing), None)
    if found is None:
        raise IcgError(f"thing={thing!r}; allowed: {', '.join(one.id for one in THINGS)}")
    folder.mkdir(parents=True, exist_ok=True)
    for n, picture in enumerate(pictures(found, count)):
        picture.save(folder / f"{n}.png")
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train product`."""
    parser = Flags(__name__, __doc__, out="folder of products")
    parser.add_argument("--pictures", type=Path, help="a folder of 3 to 8 pictures; default: drawn")
    parser.add_argument("--class", dest="kind", help="what it is, in words; needed with --pictures")
    parser.add_argument("--id", help="a-z, 0-9, '-' and '_'; needed with --pictures")
    parser.add_argument("--thing", default=THINGS[0].id, help="which of icg.train.products.art, without --pictures")
    parser.add_argument("--checkpoint", type=Path, help="starter-shaped folder; default: the shipped starter")
    parser.add_argument("--method", choices=METHODS, default=Settings.method)
    parser.add_argument("--prior", action=BooleanOptionalAction, default=True)
    shown = ", ".join(f"{steps} at {lr:g} for {name}" for name, (steps, lr) in DEFAULTS.items())
    parser.number("steps", 0, f"0 = as measured: {shown}")
    parser.number("lr", 0.0, "0 = as measured")
    for name in ("batch", "rank", "vectors", "class_pictures"):
        parser.number(name.replace("_", "-"), getattr(Settings, name))
    parser.number("prior-weight", Settings.prior_weight)
    parser.add_argument("--force", action="store_true", help="also when the pictures look like different products")
    given = parser.parse_args(argv)
    if given.pictures and not (given.kind and given.id):
        parser.error("--class and --id are needed with --pictures")
    names = ("method", "prior", "steps", "lr", "batch", "rank", "vectors", "class_pictures", "seed", "prior_weight")
    settings = Settings(**{name: getattr(given, name) for name in names})
    folder = given.pictures or drawn(given.thing, given.out / ".pictures" / given.thing)
    kind = given.kind or next(one.kind for one in THINGS if one.id == given.thing)
    settings = smoke(settings) if given.smoke else settings
    made = fine_tune(
        given.out, starter.load(given.checkpoint), given.id or given.thing, kind, [folder], settings, given.force
    )
    print(json.dumps(asdict(made)))
