"""Recipe: one product from a few pictures, by Textual Inversion or DreamBooth (arXiv:2208.01618, 2208.12242, 2106.09685).

    icg train product --pictures shop/mug --class mug --id blue-mug --out products
        [--method textual-inversion] [--no-prior] [--smoke]

The code of `icg product train`, with every number as a flag. Without --pictures it uses one of the things of icg.train.products.art.
After an interruption the same command resumes. Writes OUT/ID/ and prints its record as one JSON object.
"""

from __future__ import annotations

import json
from argparse import BooleanOptionalAction
from collections.abc import Sequence
from pathlib import Path

from icg import starter
from icg.errors import IcgError
from icg.products.record import METHODS
from icg.train.flags import Flags
from icg.train.products.art import THINGS, pictures
from icg.train.products.fine_tune import fine_tune
from icg.train.products.tuning import DEFAULTS, Settings, smoke


def draw(thing: str, folder: Path, count: int = 5) -> Path:
    """Draw pictures of one of THINGS, by id, into a folder. Raises IcgError for an unknown id."""
    chosen = next((t for t in THINGS if t.id == thing), None)
    if chosen is None:
        raise IcgError(f"thing={thing!r}; allowed: {', '.join(t.id for t in THINGS)}")
    folder.mkdir(parents=True, exist_ok=True)
    for n, picture in enumerate(pictures(chosen, count)):
        picture.save(folder / f"{n}.png")
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train product`."""
    parser = Flags(__name__, __doc__, out="folder of products")
    parser.add_argument("--pictures", type=Path, help="a folder of 3 to 8 pictures; default: drawn")
    parser.add_argument("--class", dest="kind", help="what it is, in words; needed with --pictures")
    parser.add_argument("--id", help="a-z, 0-9, '-' and '_'; needed with --pictures")
    parser.add_argument("--thing", default=THINGS[0].id, help="which of icg.train.products.art, without --pictures")
    parser.add_argument("--checkpoint", type=Path, help="folder of the starter's layout; default: the shipped starter")
    parser.add_argument("--method", choices=METHODS, default=Settings.method)
    parser.add_argument("--prior", action=BooleanOptionalAction, default=True)
    defaults = ", ".join(f"{steps} at {lr:g} for {name}" for name, (steps, lr) in DEFAULTS.items())
    parser.number("steps", 0, f"0 = as measured: {defaults}")
    parser.number("lr", 0.0, "0 = as measured")
    for name in ("batch", "rank", "vectors", "class_pictures"):
        parser.number(name.replace("_", "-"), getattr(Settings, name))
    parser.number("prior-weight", Settings.prior_weight)
    parser.add_argument("--force", action="store_true", help="even if the pictures look like different products")
    args = parser.parse_args(argv)
    if args.pictures and not (args.kind and args.id):
        parser.error("--class and --id are needed with --pictures")
    names = ("method", "prior", "steps", "lr", "batch", "rank", "vectors", "class_pictures", "seed", "prior_weight")
    settings = Settings(**{name: getattr(args, name) for name in names})
    folder = args.pictures or draw(args.thing, args.out / ".pictures" / args.thing)
    kind = args.kind or next(t.kind for t in THINGS if t.id == args.thing)
    settings = smoke(settings) if args.smoke else settings
    product = fine_tune(
        args.out, starter.load(args.checkpoint), args.id or args.thing, kind, [folder], settings, args.force
    )
    print(json.dumps(product.to_dict()))
