"""Connector pre-training on your own pair and catalogue: draw a cover from its own reading, denoiser and VLM frozen.

    icg train connector --smoke --out runs/smoke     (under a minute, the starter's models, shapes)
    icg train connector --vlm models/qwen2.5-vl-3b --diffusion models/sd3.5-medium --data shop --out runs/shop

MetaQueries (arXiv:2504.06256): the diffusion model's own loss is the only teacher; conditions are left out now and then for
guidance (arXiv:2207.12598). Interrupted, the same command goes on and ends at the same loss. docs/training.md tells the steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from icg.train.connector.pretraining import CONNECTOR, TOKENS, ConnectorConfig
from icg.train.connector.setup import Paths, assemble, smoke
from icg.train.flags import Flags
from icg.train.loop import Fit


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train connector`."""
    parser = Flags(
        __name__, __doc__, tokens=77, layers=2, steps=20_000, batch=16, accumulate=1, pixels=512 * 512, lr=1e-4
    )
    parser.add_argument("--vlm", type=Path, help="folder of a transformers checkpoint that reads pictures and text")
    parser.add_argument("--diffusion", type=Path, help="folder of a diffusers pipeline")
    parser.add_argument("--data", type=Path, help="folder with items.csv (.jsonl, .parquet), maybe covers and events")
    parser.add_argument("--cache", type=Path, help="what is computed once; default: precomputed/ beside --out")
    parser.add_argument("--adapter", type=Path, help="start from this adapter, not from a new one")
    parser.add_argument(
        "--joint", type=Path, help="a folder as the starter's, to embed covers and learn users from events"
    )
    parser.add_argument(
        "--stage", choices=(TOKENS, CONNECTOR), default=TOKENS, help="what is trained; see docs/training.md"
    )
    parser.number("save-every", 500, "steps between adapters and sample grids")
    given = parser.parse_args(argv)
    paths = Paths(given.out, given.cache or given.out.parent / "precomputed", given.adapter)
    config = ConnectorConfig(given.stage, accumulate=given.accumulate)
    fit = Fit(
        given.steps,
        given.lr,
        given.batch,
        given.seed,
        min(500, given.steps // 10),
        save_every=given.save_every,
        ema=0.999,
    )
    if not given.smoke and None in (given.vlm, given.diffusion, given.data):
        parser.error("--vlm, --diffusion and --data are required without --smoke")
    if given.smoke:
        paths, fit = smoke(paths), Fit(12, 3e-3, 4, given.seed, 2, save_every=6, ema=0.9)
        recipe = assemble(paths, replace(config, steps=4), 96 * 96, 4, given.seed, {"tokens": 8, "layers": 1}, 0.2)
    else:
        paths = replace(paths, vlm=given.vlm, diffusion=given.diffusion, data=given.data, joint=given.joint)
        more = {"tokens": given.tokens, "layers": given.layers}
        recipe = assemble(paths, config, given.pixels, given.batch, given.seed, more)
    losses = recipe.run(given.out, fit)
    print(json.dumps({"adapter": str(given.out / "adapter"), **{name: round(v, 4) for name, v in losses.items()}}))
