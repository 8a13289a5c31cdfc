"""The recipes by name: what each trains, what it needs, and how long it takes. `icg train` reads this table; it imports no recipe."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module

from icg.errors import IcgError

ART = "art"
NOTE = "art: a node_modules folder with the emoji packages, as the starter's model card names them"
STARTER = "nothing more: the starter"
UNMEASURED = "not measured"


@dataclass(frozen=True)
class Recipe:
    """`module` has `main(argv)`. `takes`: a measured time and the machine, or UNMEASURED."""

    module: str
    trains: str
    needs: str
    takes: str = UNMEASURED


RECIPES = {
    "connector": Recipe(
        "connector.recipe", "an adapter for your own VLM and diffusion model", "a VLM, a diffusion model, a catalogue"
    ),
    "users": Recipe(
        "users.recipe",
        "the user encoder and cold start",
        f"a catalogue with events; or a table of events; or {ART}, for SIMULATED ones",
        "6 minutes a seed, two cores",
    ),
    "choice": Recipe("users.choice", "which of an item's pictures a user prefers", ART),
    "alignment": Recipe(
        "alignment.recipe", "a checkpoint's refiner and connector, by rewards", f"a catalogue with events; or {ART}"
    ),
    "product": Recipe(
        "products.recipe", "one product, from a few pictures", "3 to 8 pictures", "25 s without prior, one core"
    ),
    "upscaling": Recipe(
        "upscaling.recipe",
        "a Swin2SR that enlarges covers four times",
        "a catalogue's pictures",
        "29 minutes, a shared core",
    ),
    "artifacts": Recipe(
        "artifacts.recipe",
        "the measure of spoiled places in pictures",
        f"{ART}; photographs",
        "10 minutes, a busy core",
    ),
    "aesthetic": Recipe(
        "aesthetic.recipe", "the aesthetic reward", f"{ART}; photographs", "20 minutes, two busy cores"
    ),
    "engagement": Recipe("engagement.recipe", "the engagement reward", "posts, ratings or art (SIMULATED accounts)"),
    "design": Recipe("engagement.design", "the design model", ART, "an hour, a busy core"),
    "rfnet": Recipe(
        "reliability.rfnet", "the judge of product pictures, on made-up scenes", ART, "an hour for 20 epochs, one core"
    ),
    "rf1m": Recipe("reliability.rf1m", "the judge of product pictures, on RF1M", "RF1M, four public checkpoints"),
    "controlnet": Recipe(
        "reliability.controlnet",
        "a ControlNet that paints scenes for products",
        ART,
    ),
    "rfft": Recipe(
        "reliability.rfft",
        "studios, or that ControlNet, by the judge's gradient",
        f"{ART}; a checkpoint with studios or controlnet/",
        "3 minutes for 60 steps of studios, one core",
    ),
    "starter": Recipe("starter.recipe", "the whole starter", ART, "about 4 hours, two cores"),
    "dual": Recipe("starter.dual", "the dual encoder's heads and words", f"{ART}; a dual encoder to start from"),
    "pretrained": Recipe(
        "starter.pretrained", "nothing: makes the dual encoder's trunk and words", "EfficientNet-Lite0, a text encoder"
    ),
    "space": Recipe("starter.catalogue_space", "the starter's fitted cover space, with SIMULATED users", ART),
    "grounds": Recipe("starter.grounds", "the starter's grounds for users of a fitted space", f"{ART}; a fitted space"),
    "ratings": Recipe("users.ratings", "a user encoder on real ratings, to judge it", "MovieLens-shaped tables"),
    "ablations": Recipe("studies.ablations", "adapters without one part each, to judge the parts", ART),
    "product-identity": Recipe(
        "studies.product_identity", "products by every method, to compare them", STARTER, "hours, two cores"
    ),
    "product-sheet": Recipe("studies.product_sheet", "nothing: draws what product-identity kept", "its folder"),
    "scenes-sheet": Recipe("studies.scenes_sheet", "nothing: draws made-up scenes of each class", ART),
    "world": Recipe(
        "studies.world", "nothing: draws every palette with every backdrop", "nothing more", "2 s, one core"
    ),
    "gallery": Recipe("studies.gallery", "nothing: draws the model card's gallery", ART),
    "sample": Recipe("studies.sample", "nothing: writes the sample catalogue", ART),
}


def name_of(module: str) -> str:
    """The name of the recipe in this module."""
    return next(name for name, recipe in RECIPES.items() if f"icg.train.{recipe.module}" == module)


def run(name: str, arguments: list[str]) -> None:
    """Run a recipe with its own flags. Raises IcgError for an unknown name, and SystemExit like argparse."""
    if name not in RECIPES:
        close = get_close_matches(name, RECIPES, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise IcgError(f"recipe={name!r}{hint}; allowed: {', '.join(RECIPES)}")
    import_module(f"icg.train.{RECIPES[name].module}").main(arguments)
