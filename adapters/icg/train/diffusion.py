"""Recipe 4, the main one: meta tokens, refiner, connector and denoiser, trained together by flow matching.

The look of the target comes from the user embedding (the mean of covers the simulated user engaged with, all of other
subjects), its subject from the title and the reference: so the model learns to personalise without any label.
Rectified flow with logit-normal times (arXiv:2403.03206), condition dropout for guidance (arXiv:2207.12598).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import SanaTransformer2DModel
from torch import Tensor, nn

from icg.adapter import AdapterConfig, IcgAdapter
from icg.data.bank import AXES, Bank
from icg.train.loop import Fit, train
from icg.train.prefixes import TITLE_ONLY, Prefixes


@dataclass(frozen=True)
class DiffusionConfig:
    """Denoiser widths and how often each condition is left out; `match` is how well users fit their target."""

    width: int = 256
    layers: int = 5
    heads: int = 8
    caption: int = 192
    tokens: int = 16
    drop_all: float = 0.1
    drop_user: float = 0.1
    drop_title: float = 0.08
    drop_reference: float = 0.2
    match: float = 0.88


class Drawer(nn.Module):
    """What this recipe trains."""

    def __init__(self, adapter: IcgAdapter, denoiser: SanaTransformer2DModel) -> None:
        super().__init__()
        self.adapter, self.denoiser = adapter, denoiser


def build(vlm_width: int, channels: int, side: int, config: DiffusionConfig = DiffusionConfig()) -> Drawer:
    """A new adapter and a Sana denoiser (arXiv:2410.10629) for (channels, side, side) latents."""
    adapter = IcgAdapter(AdapterConfig(vlm=vlm_width, caption=config.caption, tokens=config.tokens))
    denoiser = SanaTransformer2DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=config.heads,
        attention_head_dim=config.width // config.heads,
        num_layers=config.layers,
        num_cross_attention_heads=4,
        cross_attention_head_dim=config.width // 4,
        cross_attention_dim=config.width,
        caption_channels=config.caption,
        mlp_ratio=2.5,
        sample_size=side,
        patch_size=2,
    )
    nn.init.zeros_(denoiser.proj_out.weight)
    nn.init.zeros_(denoiser.proj_out.bias)
    return Drawer(adapter, denoiser)


class Crowd:
    """Draws user embeddings that fit a target's look, from a bank's cover embeddings (N, 64)."""

    def __init__(self, bank: Bank, covers: np.ndarray) -> None:
        self.sizes = np.array([len(axis) for axis in AXES])
        code = self._code(bank.look)
        self.order = np.argsort(code, kind="stable")
        self.starts = np.searchsorted(code[self.order], np.arange(self.sizes.prod() + 1))
        self.covers, self.subject = covers, bank.subject

    def draw(self, look: np.ndarray, subject: np.ndarray, match: float, rng: np.random.Generator) -> np.ndarray:
        """look (B, 4), subject (B,) -> (B, 64) unit rows: means of 2..12 covers of other subjects."""
        most, users = 12, len(look)
        keep = rng.random((users, most, 4)) < match
        wanted = np.where(keep, look[:, None], (rng.random((users, most, 4)) * self.sizes).astype(int))
        code = self._code(wanted)
        low, high = self.starts[code], self.starts[code + 1]
        place = low + (rng.random(code.shape) * np.maximum(high - low, 1)).astype(int)
        rows = self.order[np.minimum(place, len(self.order) - 1)]
        used = np.arange(most) < rng.integers(2, most + 1, users)[:, None]
        used &= self.subject[rows] != subject[:, None]
        weight = (used & (high > low)).astype(np.float32)
        mean = (self.covers[rows] * weight[..., None]).sum(1)
        return (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)).astype(np.float32)

    def _code(self, look: np.ndarray) -> np.ndarray:
        code = look[..., 0]
        for axis in range(1, 4):
            code = code * self.sizes[axis] + look[..., axis]
        return code


def run(
    folder: Path, model: Drawer, prefixes: Prefixes, slot: np.ndarray, bank: Bank, latents: Tensor, crowd: Crowd,
    fit: Fit, config: DiffusionConfig, until: int | None = None,
    on_save: Callable[[int, nn.Module], None] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train on `latents` (N, C, h, w), already scaled to unit deviation; `slot` maps a subject to its prefix place."""

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        picked = rng.integers(0, len(bank), fit.batch)
        subject, look = bank.subject[picked], bank.look[picked]
        reference = rng.integers(0, prefixes.references, fit.batch)
        said = rng.random(fit.batch) >= config.drop_title
        reference = np.where(said & (rng.random(fit.batch) < config.drop_reference), TITLE_ONLY, reference)
        items = prefixes.read(model.adapter.meta_tokens.weight, prefixes.row(slot[subject], reference, said))
        nobody = rng.random(fit.batch) < config.drop_user
        nothing = rng.random(fit.batch) < config.drop_all
        users = crowd.draw(look, subject, config.match, rng)
        users[nobody | nothing] = 0
        items = torch.where(torch.as_tensor(nothing)[:, None, None], model.adapter.nothing, items)
        embeds, _ = model.adapter(items, torch.as_tensor(users))
        return {"loss": flow_loss(model.denoiser, latents[torch.as_tensor(picked)].float(), embeds)}

    return train(folder, model, fit, step, config, until, on_save)


def flow_loss(denoiser: SanaTransformer2DModel, x: Tensor, embeds: Tensor) -> Tensor:
    """x (B, C, h, w): E ||v(x_t, t) - (noise - x)||^2 at x_t = (1 - t) x + t noise, t logit-normal."""
    t = torch.sigmoid(torch.randn(len(x)))
    noise = torch.randn_like(x)
    s = t[:, None, None, None]
    v = denoiser((1 - s) * x + s * noise, encoder_hidden_states=embeds, timestep=t * 1000, return_dict=False)[0]
    return F.mse_loss(v, noise - x)
