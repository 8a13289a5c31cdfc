"""Connector pre-training on your own models and catalogue: draw a cover from its own VLM reading, with frozen denoiser and VLM.

    icg train connector --smoke --out runs/smoke     (under a minute, the starter's models, shapes)
    icg train connector --vlm models/qwen2.5-vl-3b --diffusion models/sd3.5-medium --data shop --out runs/shop

MetaQueries (arXiv:2504.06256): the diffusion model's loss is the only loss; conditions are dropped at random for classifier-free guidance
(arXiv:2207.12598). After an interruption the same command resumes and ends at the same loss. docs/training.md describes the steps.
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
    parser.add_argument(
        "--data", type=Path, help="folder with items.csv (.jsonl, .parquet), optionally covers and events"
    )
    parser.add_argument("--cache", type=Path, help="folder for precomputed tensors; default: precomputed/ beside --out")
    parser.add_argument("--adapter", type=Path, help="start from this adapter instead of a new one")
    parser.add_argument(
        "--joint", type=Path, help="folder of the starter's layout, to embed covers and learn users from events"
    )
    parser.add_argument("--user-embeddings", type=Path, help="table of users' own vectors, as of eyecatch import users")
    parser.add_argument(
        "--user-map", type=Path, help="what they say of tastes: a file of eyecatch embeddings fit --out"
    )
    parser.add_argument(
        "--stage", choices=(TOKENS, CONNECTOR), default=TOKENS, help="what is trained; see docs/training.md"
    )
    parser.add_argument(
        "--checkpointing",
        action="store_true",
        help="less memory, more time: the denoiser's activations are computed again",
    )
    parser.number("save-every", 500, "steps between adapters and sample grids")
    args = parser.parse_args(argv)
    paths = Paths(args.out, args.cache or args.out.parent / "precomputed", args.adapter)
    config = ConnectorConfig(args.stage, accumulate=args.accumulate)
    fit = Fit(
        args.steps, args.lr, args.batch, args.seed, min(500, args.steps // 10), save_every=args.save_every, ema=0.999
    )
    if not args.smoke and None in (args.vlm, args.diffusion, args.data):
        parser.error("--vlm, --diffusion and --data are required without --smoke")
    if (args.user_embeddings is None) != (args.user_map is None):
        parser.error("--user-embeddings and --user-map are given together or not at all")
    if args.smoke:
        paths, fit = smoke(paths), Fit(12, 3e-3, 4, args.seed, 2, save_every=6, ema=0.9)
        recipe = assemble(paths, replace(config, steps=4), 96 * 96, 4, args.seed, {"tokens": 8, "layers": 1}, 0.2)
    else:
        paths = replace(paths, vlm=args.vlm, diffusion=args.diffusion, data=args.data, joint=args.joint)
        paths = replace(paths, user_embeddings=args.user_embeddings, user_map=args.user_map)
        sizes = {"tokens": args.tokens, "layers": args.layers}
        recipe = assemble(paths, config, args.pixels, args.batch, args.seed, sizes)
    if args.checkpointing:
        recipe.family.denoiser.enable_gradient_checkpointing()  # gradients pass through it, though it is frozen
    losses = recipe.run(args.out, fit)
    print(json.dumps({"adapter": str(args.out / "adapter"), **{name: round(v, 4) for name, v in losses.items()}}))
