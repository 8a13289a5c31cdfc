"""Recipe: a ControlNet that paints around products, trained on good and bad scenes, as a shop's pictures are (arXiv:2302.05543).

    icg train controlnet --scenes runs/reliability/scenes --out runs/inpainting [--steps 2000] [--smoke]

Scenes are those of `icg train rfnet`. The denoiser is frozen; the ControlNet starts as a copy of its first blocks. It learns defects as
well as everything else: `icg.train.reliability.rfft` then removes them. Writes OUT/controlnet.
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
from icg.models.noise import random_mixture
from icg.products.compact import from_denoiser
from icg.products.inpainting import Inpainter
from icg.reliability.scenes.scene_bank import SceneBank
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.reliability.drawn_scenes import AutoencodedScenes

LAYERS = 2
UNDER = 0.2
"""Weight of the loss where the product is: the product is pasted afterwards."""
DROP = 0.1
"""Share of dropped captions, for classifier-free guidance."""


class TrainingScenes:
    """Latents, hints and VLM readings of captions; each caption is read once."""

    def __init__(self, pipeline: CoverPipeline, bank: SceneBank, scenes: AutoencodedScenes) -> None:
        self.pipeline, self.bank, self.scenes = pipeline, bank, scenes

    def __len__(self) -> int:
        return len(self.scenes.label)

    @torch.no_grad()
    def items(self, rows: np.ndarray, dropped: np.ndarray) -> Tensor:
        """(B, M, D_vlm): readings of captions, or of nothing if dropped (B,)."""
        nothing = self.pipeline.adapter.nothing[None]
        briefs = [Brief(self.bank.captions[row]) for row in rows]
        return torch.cat([nothing if d else self.pipeline.item(b) for b, d in zip(briefs, dropped, strict=True)])

    def latents(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Clean latents and hints (B, C, h, w), and the product's coverage (B, 1, h, w)."""
        clean, hints = (torch.from_numpy(v[rows].astype(np.float32)) for v in (self.scenes.latents, self.scenes.hints))
        alpha = torch.from_numpy(self.bank.placed[rows][..., 3].astype(np.float32) / 255)[:, None]
        return clean, hints, F.interpolate(alpha, clean.shape[2:], mode="area")


def run(folder: Path, scenes: TrainingScenes, fit: Fit, layers: int = LAYERS) -> Inpainter:
    """Train on noise of all levels."""
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
            scenes.items(rows, rng.random(fit.batch) < DROP), _no_users(pipeline, len(rows))
        )
        mixed, times = random_mixture(scheduler, fit.batch)
        noise = torch.randn_like(clean)
        x = mixed.latents(clean, noise)
        residuals = inpainter.residuals(x, times, embeds, pooled, hints, size)
        prediction = pipeline.family.predict(x, times, embeds, pooled, size, residuals)
        weight = 1 - (1 - UNDER) * covered
        return {"loss": (weight * (prediction - mixed.target(clean, noise)).square()).mean()}

    train(folder, net, fit, step)
    net.eval().requires_grad_(False)
    return inpainter


def _no_users(pipeline: CoverPipeline, count: int) -> Tensor:
    return torch.zeros(count, pipeline.adapter.config.user)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train controlnet`."""
    parser = Flags(__name__, __doc__, steps=2_000, batch=32, lr=3e-4)
    parser.add_argument("--scenes", type=Path, required=True, help="scenes of a run of `icg train rfnet`")
    args = parser.parse_args(argv)
    pipeline, folder = starter.load().pipeline, args.scenes / "train"
    bank = SceneBank.read(folder)
    scenes = TrainingScenes(pipeline, bank, AutoencodedScenes.draw(folder, bank, pipeline.family, len(bank)))
    steps, batch = (3, 4) if args.smoke else (args.steps, args.batch)
    fit = Fit(steps, args.lr, batch, args.seed, min(100, steps), ema=0.998)
    inpainter = run(args.out / "run", scenes, fit)
    inpainter.net.half().save_pretrained(args.out / "controlnet")
