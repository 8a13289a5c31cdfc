"""A recipe's command-line flags; those that most recipes share are defined here. Knows no recipe."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icg.train.recipes import name_of

HELP = {
    "steps": "training steps",
    "batch": "examples a step",
    "lr": "the highest learning rate",
    "seed": "of weights, data and noise",
    "seeds": "runs, each with its own seed",
}


class Flags(argparse.ArgumentParser):
    """`--out`, `--seed` or `--seeds`, and if requested `--art`, `--smoke` and numbers (steps, batch, lr) with their defaults.

    `module` and `doc` are those of the recipe. art: "needed", "maybe", or "unless smoke".
    """

    def __init__(
        self,
        module: str,
        doc: str | None,
        art: str = "",
        smoke: bool = True,
        out: str = "run folder; an interrupted run resumes from it",
        **numbers: float,
    ) -> None:
        super().__init__(
            prog=f"icg train {name_of(module)}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.art = art
        self.add_argument("--out", type=Path, required=True, help=out)
        if art:
            self.add_argument(
                "--art", type=Path, required=art == "needed", help="a node_modules folder with the emoji packages"
            )
        for name, default in (numbers if "seeds" in numbers else numbers | {"seed": 0}).items():
            self.number(name, default)
        if smoke:
            self.add_argument("--smoke", action="store_true", help="about a minute: everything, but tiny")

    def number(self, name: str, default: float, help: str = "") -> None:
        """Add a flag of the default's type."""
        about = help or HELP.get(name, name)
        self.add_argument(f"--{name}", type=type(default), default=default, help=f"{about} (default: {default:g})")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Like argparse; it is an error if art that is needed without `--smoke` is missing."""
        values = super().parse_args(args, namespace)
        if self.art == "unless smoke" and not values.smoke and values.art is None:
            self.error("--art is needed without --smoke")
        return values
