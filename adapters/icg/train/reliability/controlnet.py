"""Recipe: a ControlNet that paints around products, on scenes good and bad, as a shop's pictures are (arXiv:2302.05543).

    icg train controlnet --scenes runs/reliability/scenes --out runs/inpainting [--steps 2000] [--smoke]

Scenes are those of `icg.train.reliability.rfnet`. What the denoiser knows stays as it is; the ControlNet
begins as a copy of its first blocks.
Defects are learned as well as all else: `icg.train.reliability.rfft` then unlearns them. Leaves OUT/controlnet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icg import starter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.draw.readings import Readings
from icg.models.noise import random_mixture
from icg.products.compact import from_denoiser
from icg.products.inpainting import Inpainter
from icg.reliability.scenes.scene_bank import SceneBank
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.reliability.drawn_scenes import Drawn

LAYERS = 2
UNDER = 0.2
"""What the loss weighs where the product stands: it is set in afterwards."""
DROP = 0.1
"""Captions left out, for guidance."""


class Scenes:
    """Latents, hints and what the VLM says of captions, each of which is read once."""

    def __init__(self, pipeline: CoverPipeline, bank: SceneBank, drawn: Drawn) -> None:
        self.pipeline, self.bank, self.drawn = pipeline, bank, drawn
        pipeline.readings = Readings(max(int(pipeline.readings.maxsize), len(set(bank.captions))))

    def __len__(self) -> int:
        return len(self.drawn.label)

    @torch.no_grad()
    def items(self, rows: np.ndarray, dropped: np.ndarray) -> Tensor:
        """(B, M, D_vlm): captions, or nothing."""
        nothing = self.pipeline.adapter.nothing[None]
        said = [Brief(self.bank.captions[row]) for row in rows]
        return torch.cat([nothing if d else self.pipeline.item(b) for b, d in zip(said, dropped, strict=True)])

    def latents(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Clean latents and hints (B, C, h, w), and how much of each place is the product, (B, 1, h, w)."""
        clean, hints = (torch.from_numpy(v[rows].astype(np.float32)) for v in (self.drawn.latents, self.drawn.hints))
        alpha = torch.from_numpy(self.bank.placed[rows][..., 3].astype(np.float32) / 255)[:, None]
        return clean, hints, F.interpolate(alpha, clean.shape[2:], mode="area")


def run(folder: Path, scenes: Scenes, fit: Fit, layers: int = LAYERS) -> Inpainter:
    """Train on noise of every strength."""
    pipeline = scenes.pipeline
    torch.manual_seed(fit.seed)
    net = from_denoiser(pipeline.family.denoiser, layers)
    inpainter, scheduler = Inpainter(net, pipeline.family), pipeline.diffusion.scheduler
    pipeline.family.denoiser.requires_grad_(False)
    size = scenes.bank.picture.shape[2:0:-1]

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        rows = np.sort(rng.integers(0, len(scenes), fit.batch))
        clean, hints, covered = scenes.latents(rows)
        embeds, pooled = pipeline.adapter(
            scenes.items(rows, rng.random(fit.batch) < DROP), _nobody(pipeline, len(rows))
        )
        mixed, times = random_mixture(scheduler, fit.batch)
        noise = torch.randn_like(clean)
        x = mixed.latents(clean, noise)
        residuals = inpainter.residuals(x, times, embeds, pooled, hints, size)
        said = pipeline.family.predict(x, times, embeds, pooled, size, residuals)
        weight = 1 - (1 - UNDER) * covered
        return {"loss": (weight * (said - mixed.target(clean, noise)).square()).mean()}

    train(folder, net, fit, step)
    net.eval().requires_grad_(False)
    return inpainter


def _nobody(pipeline: CoverPipeline, count: int) -> Tensor:
    return torch.zeros(count, pipeline.adapter.config.user)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train controlnet`."""
    parser = Flags(__name__, __doc__, steps=2_000, batch=32, lr=3e-4)
    parser.add_argument("--scenes", type=Path, required=True, help="scenes of a run of `icg train rfnet`")
    given = parser.parse_args(argv)
    pipeline, folder = starter.load().pipeline, given.scenes / "train"
    bank = SceneBank.read(folder)
    scenes = Scenes(pipeline, bank, Drawn.draw(folder, bank, pipeline.family, len(bank)))
    steps, batch = (3, 4) if given.smoke else (given.steps, given.batch)
    fit = Fit(steps, given.lr, batch, given.seed, min(100, steps), ema=0.998)
    made = run(given.out / "run", scenes, fit)
    made.net.half().save_pretrained(given.out / "controlnet")
