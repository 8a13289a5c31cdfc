"""Recipe: RFFT with consistent condition (arXiv:2408.00418): the judge's gradient trains what draws scenes, L_CC keeps backgrounds.

    icg train rfft --art node_modules --checkpoint CHECKPOINT --out runs/rfft [--smoke]

CHECKPOINT is a folder of the starter's layout with reliability/, and with studios or controlnet/. Trained are low-rank weights that studios
alone are drawn with (ours), or the ControlNet alone. Covers are sampled to a random one of the last steps, studios to one of their draft;
the clean picture that this step implies, with the product pasted, goes to RFNet: F_AC = -mean log p(available). The text direction
s = -(eps(x, z, c) - eps(x, c)) / sigma of what is tuned is kept near that of before: L_CC = |s - s_ref|, root mean square over the latent;
for a studio c is its user. "kl" keeps the predicted noise instead, "none" nothing (ReFL, arXiv:2304.05977). Not in the paper: --apart keeps
two pictures of a brief as distant as they were; its loss is the lost share of the distance. Writes OUT/grounds/studios, or OUT/controlnet.
The last line is one JSON object with figures of validation products before and after, for the choice of beta, rate and steps.
"""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg import starter
from icg.brief import Brief
from icg.compose.layout import PLACE, stood
from icg.compose.light import shadowed
from icg.compose.subject import cropped
from icg.data.art import Subject, load_subjects
from icg.draw.drafts import draft_steps
from icg.draw.estimate import NOTHING, PERSONAL, Estimate
from icg.draw.pipeline import CoverPipeline
from icg.draw.sampler import Sampler
from icg.errors import IcgError
from icg.evaluate.product_briefs import briefs, products, repeated
from icg.evaluate.reliability import validated
from icg.products import compact
from icg.products.inpainting import planes
from icg.reliability.diversity import distances
from icg.reliability.judge import Judge, product_pixels
from icg.rewards.base import TensorReward
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.reliability.tuned import tuned

REGULARISERS = ("cc", "kl", "none")
TWINS = 2
"""Pictures of a brief whose distance is kept."""
VALIDATED = 24
"""Briefs of validation products, four pictures each."""


@dataclass(frozen=True)
class RFFTConfig:
    """regulariser: one of REGULARISERS, with weight `beta`. apart: weight of the lost distance between two pictures of a brief. late: share
    of the last steps, of those of a draft if there is one, of which a random one is used. aesthetic: weight of that reward. rank: of the
    low-rank weights for studios. checkpointing: recompute activations instead of keeping them (arXiv:1604.06174). Raises IcgError for
    another regulariser."""

    regulariser: str = "cc"
    beta: float = 0.5
    apart: float = 0.0
    late: float = 0.25
    aesthetic: float = 0.0
    rank: int = 8
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.regulariser not in REGULARISERS:
            raise IcgError(f"regulariser={self.regulariser!r}; allowed: {', '.join(REGULARISERS)}")


class Tuner:
    """RFFT's loss. What draws the pipeline's scenes is trained, see `icg.train.reliability.tuned`; what it was is the reference."""

    def __init__(
        self, pipeline: CoverPipeline, judge: Judge, config: RFFTConfig, aesthetic: TensorReward | None = None
    ) -> None:
        if config.aesthetic and aesthetic is None:
            raise IcgError(f"aesthetic={config.aesthetic} without that reward; allowed: 0, or a reward")
        self.pipeline, self.config, self.aesthetic = pipeline, config, aesthetic
        self.judge, self.tuned = judge.eval().requires_grad_(False), tuned(pipeline, config.rank)
        if config.checkpointing:
            for part in {self.tuned.net, *(drawer.family.denoiser for drawer in pipeline.drawers.values())}:
                part.enable_gradient_checkpointing()

    def loss(self, briefs: Sequence[Brief], step: int) -> dict[str, Tensor]:
        """The loss for covers of `briefs`, sampled without gradient up to `step` and judged by the clean pictures implied there. With
        `apart`, briefs are `repeated` TWINS times."""
        batch = self.pipeline.start(list(briefs))
        while batch.done < step:
            self.pipeline.step(batch)
        first = batch.samplers[0].brief
        drawer, untuned = (p.drawers[p.drawn_by(first)] for p in (self.pipeline, self.tuned.untuned))
        at = Estimate(drawer, batch)
        conditions = at.others()
        with torch.no_grad():
            conditions[PERSONAL] = at.personal(drawer.adapter)
            before = {part: at.predict(condition, untuned) for part, condition in conditions.items()}
        predictions = {part: at.predict(condition) for part, condition in conditions.items()}
        products = [standing(sampler) for sampler in batch.samplers]
        pictures = self._composed(drawer.family.decode(at.now.clean(at.guided(predictions))), products)
        side = self.judge.rfnet.config.side
        cut = torch.stack([product_pixels(b.product, side) for b in briefs if b.product is not None])
        logits = self.judge.tensor(pictures, cut.to(pictures.device), [b.title for b in briefs])
        parts = {"available": -logits.log_softmax(-1)[:, 0].mean(), "held": self._regulariser(at, predictions, before)}
        loss = parts["available"] + self.config.beta * parts["held"] * (self.config.regulariser != "none")
        if self.config.apart:
            plain = torch.cat([planes(c) for c in self.tuned.untuned(list(briefs))]).to(pictures.device)
            reference, current = (distances(images, products, TWINS) for images in (plain, pictures))
            parts["nearer"] = (reference / current).log().relu().mean()
            loss = loss + self.config.apart * parts["nearer"]
        if self.config.aesthetic and self.aesthetic is not None:
            parts["aesthetic"] = self.aesthetic.tensor(pictures, briefs).mean()
            loss = loss - self.config.aesthetic * parts["aesthetic"]
        return {"loss": loss, **parts}

    def _regulariser(self, at: Estimate, predictions: Mapping[int, Tensor], before: Mapping[int, Tensor]) -> Tensor:
        """L_CC, or the distance of the predicted noise from the reference's; for "none" it is only logged."""
        if self.config.regulariser == "kl":
            return (at.now.noise(predictions[PERSONAL]) - at.now.noise(before[PERSONAL])).square().mean()
        text, reference = (at.now.noise(of[PERSONAL]) - at.now.noise(of[NOTHING]) for of in (predictions, before))
        return (((text - reference) / at.now.mixture.sigma).square().mean((1, 2, 3)) + 1e-8).sqrt().mean()

    @staticmethod
    def _composed(pictures: Tensor, placed: Sequence[Image.Image]) -> Tensor:
        # A shadow is linear in the ground: what it makes of black and of white says what it makes of all.
        shades = [
            torch.cat([planes(shadowed(Image.new("RGB", p.size, ground), p)) for p in placed]).to(pictures.device)
            for ground in ("black", "white")
        ]
        pictures = shades[0] + (shades[1] - shades[0]) * (pictures + 1) / 2
        over = torch.cat([planes(p) for p in placed]).to(pictures.device)
        return pictures * (1 - over[:, 3:]) + over[:, :3] * over[:, 3:]


def standing(sampler: Sampler) -> Image.Image:
    """RGBA of the size that the sampler draws at now: its product where it stands in the scene. IcgError for a brief without one."""
    product = sampler.brief.product
    if product is None:
        raise IcgError("product=None; allowed: a brief with a product")
    if sampler.placed is not None:
        return sampler.placed
    return stood(cropped(product), sampler.place or PLACE, sampler.size)


def run(
    folder: Path,
    tuner: Tuner,
    subjects: Sequence[Subject],
    fit: Fit,
    steps: int = Brief.steps,
    size: tuple[int, int] = Brief.size,
) -> dict[str, float]:
    """Train what is tuned; the loop prints images/s and memory. Writes its part of a checkpoint into the folder."""
    net, each = tuner.tuned.net, TWINS if tuner.config.apart else 1

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = repeated(briefs(subjects, max(1, fit.batch // each), rng, steps, size), each)
        pipeline = tuner.pipeline
        # What a studio shows is decided in its draft, where a step costs a quarter.
        last = draft_steps(steps, pipeline.draft_factor(pipeline.prepared(batch[0]))) or steps
        return tuner.loss(batch, int(rng.integers(last - math.ceil(tuner.config.late * last), last)))

    losses = train(folder, net, fit, step, tuner.config)
    net.eval().requires_grad_(False)
    tuner.tuned.save(folder)
    return losses


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train rfft`."""
    parser = Flags(__name__, __doc__, art="needed", steps=80, batch=8, lr=1e-5)
    parser.add_argument(
        "--checkpoint", type=Path, default=starter.path(), help="with reliability/ and studios or controlnet/"
    )
    parser.add_argument("--regulariser", choices=REGULARISERS, default="cc")
    parser.number("beta", RFFTConfig.beta, "weight of the regulariser")
    parser.number("apart", RFFTConfig.apart, "weight of the distance between pictures of a brief")
    parser.number("aesthetic", 0.0, "weight of the aesthetic reward")
    parser.number("rank", RFFTConfig.rank, "of a studio's low-rank weights; a Sana ControlNet also as OUT/compact")
    parser.add_argument("--checkpointing", action="store_true", help="less memory, more time")
    args = parser.parse_args(argv)
    parts = starter.load(args.checkpoint)
    config = RFFTConfig(
        args.regulariser,
        args.beta,
        args.apart,
        aesthetic=args.aesthetic,
        rank=args.rank,
        checkpointing=args.checkpointing,
    )
    aesthetic: Any = parts.rewards.get("aesthetic")
    tuner = Tuner(parts.pipeline, Judge.from_pretrained(args.checkpoint / "reliability"), config, aesthetic)
    steps, batch = (2, 2) if args.smoke else (args.steps, args.batch)
    fit = Fit(steps, args.lr, batch, args.seed, min(10, steps), save_every=max(1, steps // 2))
    subjects, count = load_subjects(args.art), 1 if args.smoke else VALIDATED
    before, began = validated(parts, subjects, count), time.perf_counter()
    losses = run(args.out, tuner, products(subjects, "train"), fit)
    spent = {"seconds": round(time.perf_counter() - began, 1)}
    if type(tuner.tuned.net).__name__ == "SanaControlNetModel":
        compact.save(args.out / "compact", tuner.tuned.net, parts.pipeline.family.denoiser, args.rank)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"before": before, "after": validated(parts, subjects, count)}
    print(json.dumps(losses | spent | {"peak_rss_mb": round(memory)} | figures))
