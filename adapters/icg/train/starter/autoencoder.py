"""Recipe 1: the autoencoder of covers, with (8, 12, 12) latents. Knows nothing about titles or users.

A stock diffusers AutoencoderDC (DC-AE, arXiv:2410.10733) of 2.3 M parameters. Loss: L1 + L1 of image gradients, with a little noise on
the latent so that the decoder tolerates the denoiser's errors. A penalty keeps channels near (0, 1); the remaining scalar is the
`scaling_factor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC

from icg.data.bank import Bank
from icg.train.loop import Fit, train

LATENT_NOISE = 0.05
CROP = 64
"""Training uses crops, for more steps a minute; nothing here depends on the size of the picture."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """Widths per resolution (full, 1/2, 1/4, 1/8) and residual blocks at each."""

    channels: tuple[int, ...] = (16, 32, 64, 128)
    encoder_blocks: tuple[int, ...] = (0, 1, 2, 2)
    decoder_blocks: tuple[int, ...] = (0, 2, 3, 3)
    latent_channels: int = 8


def build(config: AutoencoderConfig = AutoencoderConfig()) -> AutoencoderDC:
    """A new autoencoder that divides the edges by 8."""
    levels = len(config.channels)
    return AutoencoderDC(
        latent_channels=config.latent_channels,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=config.channels,
        decoder_block_out_channels=config.channels,
        encoder_layers_per_block=config.encoder_blocks,
        decoder_layers_per_block=config.decoder_blocks,
        encoder_qkv_multiscales=((),) * levels,
        decoder_qkv_multiscales=((),) * levels,
        upsample_block_type="interpolate",
        scaling_factor=1.0,
    ).to(memory_format=torch.channels_last)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def loss_of(model: AutoencoderDC, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """x (B, 3, H, W) in [-1, 1]. A penalty keeps the latent near zero mean and unit deviation."""
    z = model.encode(x).latent
    y = model.decode(z + LATENT_NOISE * torch.randn_like(z)).sample
    pixel = (y - x).abs().mean()
    edge = (_dx(y) - _dx(x)).abs().mean() + (_dy(y) - _dy(x)).abs().mean()
    spread = z.mean((0, 2, 3)).square().mean() + (z.std((0, 2, 3)) - 1).square().mean()
    psnr = 10 * torch.log10(4 / (y.detach().clamp(-1, 1) - x).square().mean())
    return {"loss": pixel + 0.5 * edge + 0.01 * spread, "pixel": pixel, "psnr": psnr}


def run(folder: Path, bank: Bank, fit: Fit, config: AutoencoderConfig, until: int | None = None) -> AutoencoderDC:
    """Train on the bank's covers and return the standardised autoencoder."""
    torch.manual_seed(fit.seed)
    model = build(config)

    def step(_: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        top, left = rng.integers(0, bank.images.shape[1] - CROP + 1, 2)
        picked = bank.images[rng.integers(0, len(bank), fit.batch), top : top + CROP, left : left + CROP]
        return loss_of(model, to_tensor(picked).to(memory_format=torch.channels_last))

    train(folder, model, fit, step, config, until)
    model.eval()
    standardise(model, bank.images[:: max(1, len(bank) // 512)][:512])
    return model


@torch.no_grad()
def encode(model: AutoencoderDC, images: np.ndarray, batch: int = 64) -> torch.Tensor:
    """(N, H, W, 3) uint8 -> (N, C, H/8, W/8) float16 latents."""
    parts = [model.encode(to_tensor(images[i : i + batch])).latent.half() for i in range(0, len(images), batch)]
    return torch.cat(parts)


@torch.no_grad()
def standardise(model: AutoencoderDC, images: np.ndarray) -> None:
    """Set `scaling_factor` so that latents have unit deviation."""
    z = encode(model, images).float()
    model.register_to_config(scaling_factor=float(1 / z.std()))


@torch.no_grad()
def psnr(model: AutoencoderDC, images: np.ndarray) -> float:
    """Mean PSNR in dB of reconstructions of (N, H, W, 3) uint8 covers."""
    x = to_tensor(images)
    y = torch.cat([model.decode(model.encode(part).latent).sample for part in x.split(32)]).clamp(-1, 1)
    return float((10 * torch.log10(4 / (y - x).square().mean((1, 2, 3)))).mean())


def _dx(x: torch.Tensor) -> torch.Tensor:
    return x[..., 1:] - x[..., :-1]


def _dy(x: torch.Tensor) -> torch.Tensor:
    return x[..., 1:, :] - x[..., :-1, :]
