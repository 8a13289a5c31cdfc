"""Recipe: a small Swin2SR (arXiv:2209.11345) that enlarges covers four times, from random drawings and a catalogue's pictures.

    icg train upscaling --pictures services/eyecatch/sample/covers --out runs/upscaler [--steps 4500] [--smoke]

It starts as bicubic interpolation and learns the difference. A quarter of the catalogue's subjects is held out. Writes OUT/upscaler (an
ordinary transformers folder, fp16), which icg.evaluate.upscaling evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg import starter
from icg.data.upscaling import FACTOR, Pairs, catalogue, pairs, random_cover
from icg.train.flags import Flags
from icg.train.loop import Fit, train

SHIFTS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class UpscalingConfig:
    """`drawings` of `side` pixels, and at most as many pictures of the catalogue; `catalogue`: share of the catalogue's crops in a batch.

    kinds: shares of clean, drawn and spoiled small pictures of drawings; `real_kinds`: of the catalogue's. `edge` of crops, whose outer
    `rim` is only context, as in use."""

    drawings: int = 480
    side: int = 512
    edge: int = 24
    rim: int = 2
    catalogue: float = 0.3
    kinds: tuple[float, float, float] = (0.3, 0.5, 0.2)
    real_kinds: tuple[float, float, float] = (0.75, 0.0, 0.25)
    dim: int = 30
    depths: tuple[int, ...] = (2, 2)
    heads: int = 3


def build(config: UpscalingConfig) -> Any:
    """Swin2SR with the light upsampler; initially bicubic except for small random weights."""
    from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

    stages = len(config.depths)
    kwargs = {"embed_dim": config.dim, "depths": list(config.depths), "num_heads": [config.heads] * stages}
    kwargs |= {"window_size": 8, "mlp_ratio": 2.0, "upscale": FACTOR, "upsampler": "pixelshuffledirect"}
    model: Any = Swin2SRForImageSuperResolution(Swin2SRConfig(**kwargs, image_size=64, drop_path_rate=0.0))
    as_bicubic(model.swin2sr.first_convolution, model.upsample.conv)
    return model


@torch.no_grad()
def as_bicubic(first: nn.Conv2d, last: nn.Conv2d) -> None:
    """12 channels of `first` carry the four diagonal neighbours; from these `last` (3 x 3) computes the bicubic result (5 x 5)."""
    first.weight[:12] = 0
    last.weight[:, :12] = 0
    for n, (dy, dx) in enumerate(SHIFTS):
        for colour in range(3):
            first.weight[3 * n + colour, colour, 1 + dy, 1 + dx] = 1
    taps = [_taps(phase) for phase in range(FACTOR)]
    for colour in range(3):
        for py in range(FACTOR):
            for px in range(FACTOR):
                out = (colour * FACTOR + py) * FACTOR + px  # as nn.PixelShuffle counts
                for y, wy in taps[py].items():
                    for x, wx in taps[px].items():
                        (sy, ky), (sx, kx) = _split(y), _split(x)
                        last.weight[out, 3 * SHIFTS.index((sy, sx)) + colour, 1 + ky, 1 + kx] += wy * wx


def _split(offset: int) -> tuple[int, int]:
    """-2..2 as a shift of -1 or 1 and a remainder of -1..1."""
    shift = 1 if offset > 0 else -1
    return shift, offset - shift


def _taps(phase: int) -> dict[int, float]:
    """Offset -> weight of Keys' cubic (a = -0.5) at a quarter of a pixel."""
    at = (phase + 0.5) / FACTOR - 0.5
    distance = {offset: abs(offset - at) for offset in range(-2, 3)}
    weights = {
        o: 1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        for o, d in distance.items()
        if d < 2
    }
    return weights


def load_or_make(path: Path, make: Callable[[], Pairs]) -> Pairs:
    """Read the pairs at `path`; make and save them if they are missing."""
    if not path.exists():
        data = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, large=data.large, small=data.small)
        return data
    with np.load(path) as z:
        return Pairs(z["large"], z["small"])


def run(folder: Path, drawings: Pairs, real: Pairs, fit: Fit, config: UpscalingConfig) -> Any:
    """Train with the mean absolute difference, on every kind of small picture."""
    torch.manual_seed(fit.seed)
    model = build(config)
    sources = ((drawings, config.kinds), (real, config.real_kinds))

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        crops = []
        for _ in range(fit.batch):
            source, kinds = sources[int(rng.random() < config.catalogue)]
            crops.append(source.crop(int(rng.integers(len(source))), int(rng.choice(3, p=kinds)), config.edge, rng))
        low, high = (_tensor(np.stack(side)) for side in zip(*crops, strict=True))
        upscaled, rim = model(low).reconstruction, config.rim * FACTOR
        return {"loss": F.l1_loss(upscaled[..., rim:-rim, rim:-rim], high[..., rim:-rim, rim:-rim])}

    train(folder, model, fit, step, config)
    return model.eval().requires_grad_(False)


def save(model: Any, folder: Path) -> None:
    """Write config.json, preprocessor_config.json and fp16 weights."""
    from transformers import Swin2SRImageProcessorPil

    model.half().save_pretrained(folder, safe_serialization=True)
    model.float()
    Swin2SRImageProcessorPil(size_divisor=model.config.window_size).save_pretrained(folder)


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train upscaling`."""
    parser = Flags(__name__, __doc__, steps=4_500, batch=16, lr=1.5e-3)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures named SUBJECT-NUMBER")
    args = parser.parse_args(argv)
    config, steps, batch = UpscalingConfig(), args.steps, args.batch
    if args.smoke:
        config, steps, batch = UpscalingConfig(drawings=3, side=128, dim=12, depths=(1,), heads=2), 3, 2
    vae = starter.autoencoder()
    drawings = load_or_make(
        args.out / "drawings.npz",
        lambda: pairs([random_cover(args.seed, n, config.side) for n in range(config.drawings)], vae, args.seed),
    )
    real = load_or_make(
        args.out / "real.npz", lambda: pairs(catalogue(args.pictures, held=False)[: config.drawings], vae, args.seed)
    )
    fit = Fit(steps, args.lr, batch, args.seed, min(100, steps), ema=0.998, weight_decay=0.0)
    model = run(args.out / "run", drawings, real, fit, config)
    save(model, args.out / "upscaler")
