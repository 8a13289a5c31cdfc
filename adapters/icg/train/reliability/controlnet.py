"""Recipe: a ControlNet that paints scenes for products, trained on scenes without them (arXiv:2302.05543).

    icg train controlnet --art node_modules --out runs/inpainting [--checkpoint CHECKPOINT] [--side 256] [--steps 1200] [--smoke]

The hint shows where the product stands; the target is the scene without it and its shadow, which `icg.compose` adds. The denoiser is
frozen. The ControlNet of CHECKPOINT goes on training; without one it starts as a copy of the denoiser's first blocks. `icg train rfft` then
removes defects. Writes OUT/controlnet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from icg import starter
from icg.brief import Brief
from icg.data.art import load_subjects
from icg.draw.pipeline import CoverPipeline
from icg.errors import IcgError
from icg.models.noise import random_mixture
from icg.products import compact
from icg.products.inpainting import Inpainter, planes
from icg.reliability.scenes.scenes import Scenes
from icg.train.flags import Flags
from icg.train.loop import Fit, train

LAYERS = 2
UNDER = 0.2
"""Weight of the loss where the product is: the product covers it."""
DROP = 0.1
"""Share of dropped captions, for classifier-free guidance."""
BATCH = 16


@dataclass(frozen=True, eq=False)
class BareScenes:
    """N scenes: clean latents of each without its product (N, C, h, w) and hints of the ControlNet likewise, both float16; coverage by the
    product (N, 1, h, w); captions; pixels of an edge."""

    latents: Tensor
    hints: Tensor
    covered: Tensor
    captions: list[str]
    side: int

    def __len__(self) -> int:
        return len(self.captions)

    @classmethod
    @torch.inference_mode()
    def draw(cls, scenes: Scenes, seed: int, count: int, inpainter: Inpainter, pipeline: CoverPipeline) -> BareScenes:
        """The first `count` scenes of `seed`."""
        latents, hints, covered, captions, side = [], [], [], [], 0
        stream = scenes.stream(seed, count)
        for _ in tqdm(range(0, count, BATCH), desc="scenes", mininterval=5.0):
            part = list(islice(stream, BATCH))
            clean = pipeline.family.encode(torch.cat([planes(scene.bare) for scene in part]))
            placed = torch.cat([planes(scene.placed) for scene in part])
            latents.append(clean.half())
            side = part[0].bare.width
            hints.append(inpainter.hint(placed).half())
            covered.append(F.interpolate(placed[:, 3:], clean.shape[2:], mode="area"))
            captions += [scene.caption for scene in part]
        return cls(torch.cat(latents), torch.cat(hints), torch.cat(covered), captions, side)


@torch.no_grad()
def items(pipeline: CoverPipeline, captions: Sequence[str], dropped: np.ndarray) -> Tensor:
    """(B, M, D_vlm): readings of captions, each computed once, or of nothing if dropped (B,)."""
    nothing = pipeline.adapter.nothing[None]
    return torch.cat([nothing if d else pipeline.item(Brief(text)) for text, d in zip(captions, dropped, strict=True)])


def loss_of(
    pipeline: CoverPipeline, inpainter: Inpainter, scenes: BareScenes, rows: np.ndarray, dropped: np.ndarray
) -> Tensor:
    """The weighted error of what the denoiser predicts for scenes `rows` (B,), on noise of random levels. dropped (B,): without caption."""
    read = items(pipeline, [scenes.captions[row] for row in rows], dropped)
    embeds, pooled = pipeline.adapter(read, torch.zeros(len(rows), pipeline.adapter.config.user))
    clean, size = scenes.latents[rows].float(), (scenes.side, scenes.side)
    mixed, times = random_mixture(pipeline.diffusion.scheduler, len(rows))
    noise = torch.randn_like(clean)
    x = mixed.latents(clean, noise)
    residuals = inpainter.residuals(x, times, embeds, pooled, scenes.hints[rows].float(), size)
    prediction = pipeline.family.predict(x, times, embeds, pooled, size, residuals)
    weight = 1 - (1 - UNDER) * scenes.covered[rows]
    return (weight * (prediction.float() - mixed.target(clean, noise)).square()).mean()


def run(folder: Path, pipeline: CoverPipeline, scenes: BareScenes, fit: Fit, half: bool = False) -> None:
    """Train the pipeline's ControlNet. half: in bfloat16."""
    torch.manual_seed(fit.seed)
    inpainter = pipeline.inpainter
    if inpainter is None:
        raise IcgError("pipeline without a ControlNet; allowed: one with a ControlNet")
    net = inpainter.net.requires_grad_(True).train()
    pipeline.family.denoiser.requires_grad_(False)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        rows, dropped = rng.integers(0, len(scenes), fit.batch), rng.random(fit.batch) < DROP
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return {"loss": loss_of(pipeline, inpainter, scenes, rows, dropped)}

    train(folder, net, fit, step)
    net.eval().requires_grad_(False)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train controlnet`."""
    parser = Flags(__name__, __doc__, art="needed", steps=1_200, batch=16, lr=3e-4)
    parser.add_argument("--checkpoint", type=Path, default=starter.path(), help="folder with vlm, diffusion, adapter")
    parser.number("side", 256, "pixels of a scene's edge")
    parser.number("scenes", 4_000, "scenes to learn from")
    parser.number("rank", 0, "also OUT/compact: icg.products.compact of this rank, as shipped; 0 = none")
    parser.add_argument("--half", action="store_true", help="bfloat16: half of the time on CPUs with AVX-512 BF16")
    args = parser.parse_args(argv)
    pipeline = starter.load(args.checkpoint).pipeline
    fresh = Inpainter(compact.from_denoiser(pipeline.family.denoiser, LAYERS), pipeline.family)
    pipeline.inpainter = inpainter = pipeline.inpainter or fresh
    side, count, steps, batch = (64, 8, 3, 4) if args.smoke else (args.side, args.scenes, args.steps, args.batch)
    source = Scenes(load_subjects(args.art), available=1.0, side=side, studios=1.0)
    scenes = BareScenes.draw(source, args.seed, count, inpainter, pipeline)
    fit = Fit(steps, args.lr, batch, args.seed, min(100, steps), save_every=100, ema=0.995)
    run(args.out / "run", pipeline, scenes, fit, args.half)
    if args.rank:
        compact.save(args.out / "compact", inpainter.net, pipeline.family.denoiser, args.rank)
    inpainter.net.half().save_pretrained(args.out / "controlnet")
