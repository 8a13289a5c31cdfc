"""Writes the sample catalogue: items with reference pictures, a pool of composed covers, and SIMULATED behaviour.

icg train sample --art node_modules --out services/eyecatch/sample
"""

from __future__ import annotations

from collections.abc import Sequence

from icg.data.art import entries
from icg.data.large_art import large_subjects
from icg.data.sample import choose, write
from icg.train.flags import Flags


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train sample`."""
    args = Flags(__name__, __doc__, art="needed", smoke=False, out="folder of the catalogue", seed=7).parse_args(argv)
    ids = choose([entry.id for entry in entries(args.art)])
    write(args.out, large_subjects(args.art, ids), args.seed)
