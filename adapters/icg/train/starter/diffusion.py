"""Recipe 6, the main one: refiner, connector and denoiser, trained together by flow matching; meta tokens are frozen.

The target's look comes from the user embedding (the mean of covers of other subjects that the simulated user engaged with), its subject
from title and reference: so the model learns to personalise without labels.
Rectified flow with logit-normal times (arXiv:2403.03206), condition dropout for classifier-free guidance (arXiv:2207.12598).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import SanaTransformer2DModel
from torch import Tensor, nn

from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.data.bank import Bank
from icg.data.compose import FRAMINGS, subject_box
from icg.train.loop import Fit, train
from icg.train.starter.align import SubjectNamer
from icg.train.starter.prefixes import TITLE_ONLY, Prefixes
from icg.train.starter.simulated_users import Crowd


@dataclass(frozen=True)
class DiffusionConfig:
    """Denoiser widths and drop rates of the conditions; `match`: probability that a value of a user's covers is the target's.

    `framings`: odds of close, medium and corner targets (small subjects teach little). `name_weight`: of the loss that keeps subject and
    look readable in the conditioning. Backgrounds are easily learned: the loss has `subject_weight` where the subject is, and times are
    drawn around sigmoid(`noise`), where the title still matters.
    """

    width: int = 256
    layers: int = 5
    heads: int = 8
    caption: int = 192
    tokens: int = 16
    drop_all: float = 0.1
    drop_user: float = 0.1
    drop_title: float = 0.08
    drop_reference: float = 0.4
    match: float = 0.88
    framings: tuple[float, ...] = (1.2, 1.0, 0.5)
    name_weight: float = 0.1
    subject_weight: float = 3.0
    noise: float = 0.4


class Drawer(nn.Module):
    """The modules of this recipe."""

    def __init__(self, namer: SubjectNamer, denoiser: SanaTransformer2DModel) -> None:
        super().__init__()
        self.namer, self.denoiser = namer, denoiser
        namer.adapter.meta_tokens.requires_grad_(False)

    @property
    def adapter(self) -> IcgAdapter:
        """The part that ships with the denoiser."""
        return self.namer.adapter


def new_adapter(vlm_width: int, config: DiffusionConfig) -> IcgAdapter:
    """A new adapter for this denoiser."""
    families = {"reads": "llava", "draws": SanaTransformer2DModel.__name__}
    return IcgAdapter(
        AdapterConfig(vlm=vlm_width, caption=config.caption, tokens=config.tokens, audience=False, **families)
    )


def build(namer: SubjectNamer, channels: int, side: int, config: DiffusionConfig) -> Drawer:
    """An aligned adapter with a new Sana denoiser (arXiv:2410.10629) for (channels, side, side) latents."""
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
    return Drawer(namer, denoiser)


def run(
    folder: Path,
    model: Drawer,
    prefixes: Prefixes,
    items: Tensor,
    slot: np.ndarray,
    bank: Bank,
    latents: Tensor,
    crowd: Crowd,
    fit: Fit,
    config: DiffusionConfig,
    until: int | None = None,
    emphasis: np.ndarray | None = None,
    on_save: Callable[[int, nn.Module], None] | None = None,
) -> dict[str, float]:
    """Train on `latents` (N, C, h, w) at unit deviation; `items` is align.table; `slot` maps a subject to its index in prefixes.

    emphasis (subjects,): relative frequency of each subject.
    """
    odds = np.array(config.framings)[bank.look[:, 3]] * (1 if emphasis is None else emphasis[bank.subject])
    odds = np.cumsum(odds / odds.sum())
    boxes = torch.as_tensor(np.stack([subject_box(f, latents.shape[-1]) for f in FRAMINGS]))
    boxes = 1 + (config.subject_weight - 1) * boxes
    boxes /= boxes.mean((1, 2), keepdim=True)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        picked = np.searchsorted(odds, rng.random(fit.batch)).clip(max=len(bank) - 1)
        subject, look = bank.subject[picked], bank.look[picked]
        reference = rng.integers(0, prefixes.references, fit.batch)
        with_title = rng.random(fit.batch) >= config.drop_title
        reference = np.where(with_title & (rng.random(fit.batch) < config.drop_reference), TITLE_ONLY, reference)
        item = items[torch.as_tensor(prefixes.row(slot[subject], reference, with_title))].float()
        no_user = rng.random(fit.batch) < config.drop_user
        no_item = rng.random(fit.batch) < config.drop_all
        users = crowd.draw(look, subject, config.match, rng)
        users[no_user | no_item] = 0
        item = torch.where(torch.as_tensor(no_item)[:, None, None], model.adapter.nothing, item)
        embeds, _ = model.adapter(item, torch.as_tensor(users))
        has_item = torch.as_tensor(~no_item)
        name = model.namer.loss(embeds[has_item], torch.as_tensor(slot[subject])[has_item])
        has_user = torch.as_tensor(~(no_user | no_item))
        taste = model.namer.taste(embeds[has_user], torch.as_tensor(look).long()[has_user])
        target = latents[torch.as_tensor(picked)].float()
        flow = flow_loss(model.denoiser, target, embeds, boxes[torch.as_tensor(look[:, 3]).long()], config.noise)
        return {"loss": flow + config.name_weight * (name + taste), "flow": flow, "name": name, "taste": taste}

    return train(folder, model, fit, step, config, until, on_save)


def flow_loss(denoiser: SanaTransformer2DModel, x: Tensor, embeds: Tensor, weight: Tensor, noisiness: float) -> Tensor:
    """x (B, C, h, w), weight (B, h, w): weighted E ||v(x_t, t) - (noise - x)||^2 at x_t = (1 - t) x + t noise.

    t is logit-normal around sigmoid(noisiness).
    """
    t = torch.sigmoid(torch.randn(len(x)) + noisiness)
    noise = torch.randn_like(x)
    s = t[:, None, None, None]
    v = denoiser((1 - s) * x + s * noise, encoder_hidden_states=embeds, timestep=t * 1000, return_dict=False)[0]
    return (weight[:, None] * (v - noise + x).square()).mean()
