"""Recipe: RFFT with consistent condition (arXiv:2408.00418): the judge's gradient trains the ControlNet alone, L_CC keeps backgrounds.

    icg train rfft --art node_modules --checkpoint CHECKPOINT --out runs/rfft [--smoke]

CHECKPOINT is a folder of the starter's layout with controlnet/ and reliability/. Covers are sampled to a random one of the last steps; the
clean picture that this step implies, with the product pasted, goes to RFNet: F_AC = -mean log p(available). The text direction
s = -(eps(x, z, c) - eps(x, c)) / sigma of the tuned ControlNet is kept near that of the untuned one: L_CC = |s - s_ref|, root mean square
over the latent. "kl" keeps the predicted noise instead, "none" nothing (ReFL, arXiv:2304.05977). Not in the paper: --apart keeps two
pictures of a brief as distant as the untuned ControlNet's; its loss is the lost share of the distance. Writes OUT/controlnet. The last
line is one JSON object with figures of validation products before and after, for the choice of beta, rate and steps.
"""

from __future__ import annotations

import copy
import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg import starter
from icg.brief import Brief
from icg.compose.light import shadowed
from icg.data.art import Subject, load_subjects
from icg.draw.estimate import NOTHING, PERSONAL, Estimate
from icg.draw.pipeline import CoverPipeline
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

REGULARISERS = ("cc", "kl", "none")
TWINS = 2
"""Pictures of a brief whose distance is kept."""
VALIDATED = 24
"""Briefs of validation products, four pictures each."""


@dataclass(frozen=True)
class RFFTConfig:
    """regulariser: one of REGULARISERS, with weight `beta`. apart: weight of the lost distance between two pictures of a brief. late: share
    of the last steps, of which a random one is used. aesthetic: weight of that reward. checkpointing: recompute activations instead of
    keeping them (arXiv:1604.06174). Raises IcgError for another regulariser."""

    regulariser: str = "cc"
    beta: float = 0.5
    apart: float = 0.0
    late: float = 0.25
    aesthetic: float = 0.0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.regulariser not in REGULARISERS:
            raise IcgError(f"regulariser={self.regulariser!r}; allowed: {', '.join(REGULARISERS)}")


class Tuner:
    """RFFT's loss. The pipeline's ControlNet is trained, a copy of it is the reference."""

    def __init__(
        self, pipeline: CoverPipeline, judge: Judge, config: RFFTConfig, aesthetic: TensorReward | None = None
    ) -> None:
        if pipeline.inpainter is None:
            raise IcgError("pipeline without a ControlNet; allowed: a checkpoint with controlnet/")
        if config.aesthetic and aesthetic is None:
            raise IcgError(f"aesthetic={config.aesthetic} without that reward; allowed: 0, or a reward")
        self.pipeline, self.config, self.aesthetic = pipeline, config, aesthetic
        self.judge = judge.eval().requires_grad_(False)
        self.inpainter = pipeline.inpainter
        self.untuned = copy.copy(pipeline)
        self.untuned.inpainter = copy.copy(self.inpainter)
        self.untuned.inpainter.net = copy.deepcopy(self.inpainter.net).requires_grad_(False)
        self.net = self.inpainter.net.requires_grad_(True).train()
        for part in (pipeline.family.denoiser, pipeline.family.vae, pipeline.adapter):
            part.requires_grad_(False)
        if config.checkpointing:
            for part in (self.net, pipeline.family.denoiser):
                part.enable_gradient_checkpointing()

    def loss(self, briefs: Sequence[Brief], step: int) -> dict[str, Tensor]:
        """The loss for covers of `briefs`, sampled without gradient up to `step` and judged by the clean pictures implied there. With
        `apart`, briefs are `repeated` TWINS times."""
        batch = self.pipeline.start(list(briefs))
        while batch.done < step:
            self.pipeline.step(batch)
        at, products = Estimate(self.pipeline, batch), [s.placed for s in batch.samplers if s.placed is not None]
        conditions = at.others()
        with torch.no_grad():
            conditions[PERSONAL] = at.personal(self.pipeline.adapter)
        predictions = {part: at.predict(condition) for part, condition in conditions.items()}
        pictures = self._composed(self.pipeline.family.decode(at.now.clean(at.guided(predictions))), products)
        side = self.judge.rfnet.config.side
        cut = torch.stack([product_pixels(b.product, side) for b in briefs if b.product is not None])
        logits = self.judge.tensor(pictures, cut.to(pictures.device), [b.title for b in briefs])
        with torch.no_grad():
            before = {part: at.predict(condition, self.untuned) for part, condition in conditions.items()}
        parts = {"available": -logits.log_softmax(-1)[:, 0].mean(), "held": self._regulariser(at, predictions, before)}
        loss = parts["available"] + self.config.beta * parts["held"] * (self.config.regulariser != "none")
        if self.config.apart:
            plain = torch.cat([planes(c) for c in self.untuned(list(briefs))]).to(pictures.device)
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


def run(
    folder: Path,
    tuner: Tuner,
    subjects: Sequence[Subject],
    fit: Fit,
    steps: int = Brief.steps,
    size: tuple[int, int] = Brief.size,
) -> dict[str, float]:
    """Train the ControlNet; the loop prints images/s and memory. Writes folder/controlnet."""
    late, each = max(1, round(tuner.config.late * steps)), TWINS if tuner.config.apart else 1

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = repeated(briefs(subjects, max(1, fit.batch // each), rng, steps, size), each)
        return tuner.loss(batch, int(rng.integers(steps - late, steps)))

    losses = train(folder, tuner.net, fit, step, tuner.config)
    tuner.net.eval().requires_grad_(False)
    tuner.net.save_pretrained(folder / "controlnet")
    return losses


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train rfft`."""
    parser = Flags(__name__, __doc__, art="needed", steps=80, batch=8, lr=1e-5)
    parser.add_argument("--checkpoint", type=Path, default=starter.path(), help="with controlnet/ and reliability/")
    parser.add_argument("--regulariser", choices=REGULARISERS, default="cc")
    parser.number("beta", RFFTConfig.beta, "weight of the regulariser")
    parser.number("apart", RFFTConfig.apart, "weight of the distance between pictures of a brief")
    parser.number("aesthetic", 0.0, "weight of the aesthetic reward")
    parser.number("rank", 0, "also OUT/compact: icg.products.compact of this rank, as shipped; 0 = none")
    parser.add_argument("--checkpointing", action="store_true", help="less memory, more time")
    args = parser.parse_args(argv)
    parts = starter.load(args.checkpoint)
    parts = replace(parts, pipeline=parts.pipeline.whole())  # studios have no ControlNet
    config = RFFTConfig(
        args.regulariser, args.beta, args.apart, aesthetic=args.aesthetic, checkpointing=args.checkpointing
    )
    aesthetic: Any = parts.rewards.get("aesthetic")
    tuner = Tuner(parts.pipeline, Judge.from_pretrained(args.checkpoint / "reliability"), config, aesthetic)
    steps, batch = (2, 2) if args.smoke else (args.steps, args.batch)
    fit = Fit(steps, args.lr, batch, args.seed, min(10, steps), save_every=max(1, steps // 2))
    subjects, count = load_subjects(args.art), 1 if args.smoke else VALIDATED
    before, began = validated(parts, subjects, count), time.perf_counter()
    losses = run(args.out, tuner, products(subjects, "train"), fit)
    spent = {"seconds": round(time.perf_counter() - began, 1)}
    if args.rank:
        compact.save(args.out / "compact", tuner.net, parts.pipeline.family.denoiser, args.rank)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"before": before, "after": validated(parts, subjects, count)}
    print(json.dumps(losses | spent | {"peak_rss_mb": round(memory)} | figures))
