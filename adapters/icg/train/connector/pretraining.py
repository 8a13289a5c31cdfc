"""Connector pre-training (MetaQueries, arXiv:2504.06256): draw a cover from its own VLM reading, with frozen denoiser and VLM.

The diffusion model's loss is the only loss; conditions are dropped at random for classifier-free guidance (arXiv:2207.12598).
Knows no command line and no folder but the run's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.errors import CheckpointError, IcgError
from icg.models import vlm as reading
from icg.models.families import Family
from icg.models.noise import random_mixture
from icg.train.connector import samples
from icg.train.connector.source import ConnectorSource
from icg.train.loop import Fit, train

if TYPE_CHECKING:
    from accelerate import Accelerator

TOKENS, CONNECTOR = "tokens", "connector"
STANDARD = 256
"""Items whose readings define the adapter's centre and spread."""
HELD_OUT = 64
"""Held-out covers of the validation loss."""


def loss_of(
    family: Family, adapter: IcgAdapter, scheduler: Any, pixels: Tensor, items: Tensor, users: Tensor
) -> Tensor:
    """pixels (B, 3, H, W) in [-1, 1], items (B, M, D_vlm), users (B, U) -> the family's training loss, a scalar."""
    with torch.no_grad():
        clean = family.encode(pixels)
    return latent_loss(family, adapter, scheduler, clean, items, users)


def latent_loss(
    family: Family, adapter: IcgAdapter, scheduler: Any, clean: Tensor, items: Tensor, users: Tensor
) -> Tensor:
    """clean (B, C, h, w) latents, the rest as in `loss_of`. Times and noise come from the CPU, so they are equal on any device."""
    mixed, timesteps = random_mixture(scheduler, len(clean))
    alpha, sigma = (torch.as_tensor(value).to(clean.device) for value in (mixed.alpha, mixed.sigma))
    mixed, noise = replace(mixed, alpha=alpha, sigma=sigma), torch.randn(clean.shape).to(clean.device)
    embeds, pooled = adapter(items, users)
    size = (clean.shape[3] * family.factor, clean.shape[2] * family.factor)
    prediction = family.predict(mixed.latents(clean, noise), timesteps.to(clean.device), embeds, pooled, size)
    return (prediction.float() - mixed.target(clean, noise)).square().mean()


@dataclass(frozen=True)
class ConnectorConfig:
    """Drop rates: `drop_all` of item and user, `drop_user`, and `drop_picture` of the cover from its own reading.

    `stage`: TOKENS trains meta tokens and connector, and runs the VLM at each step; CONNECTOR freezes the meta tokens, whose readings
    are computed once. `accumulate` batches make a step. Samples are `columns` covers, drawn in `steps` at `guidance`.
    `made_from`: the folders and a cover's pixels; saved with the run, so that a run cannot resume with others.
    """

    stage: str = TOKENS
    drop_all: float = 0.1
    drop_user: float = 0.8
    drop_picture: float = 0.3
    accumulate: int = 1
    columns: int = 8
    steps: int = 20
    guidance: float = 4.0
    made_from: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.stage not in (TOKENS, CONNECTOR):
            raise IcgError(f"stage={self.stage!r}; allowed: {TOKENS}, {CONNECTOR}")
        for name in ("drop_all", "drop_user", "drop_picture"):
            if not 0 <= getattr(self, name) <= 1:
                raise IcgError(f"{name}={getattr(self, name)}; allowed: 0..1")


def new_adapter(vlm: Any, diffusion: Any, seed: int, **sizes: int) -> IcgAdapter:
    """An adapter for a loaded pair. Its refiner's outputs are zero, so that users change nothing before it is trained."""
    torch.manual_seed(seed)
    width = int(vlm.get_input_embeddings().weight.shape[1])
    heads = next(n for n in (32, 16, 8, 4, 2, 1) if width % n == 0 and (width // n >= 48 or n == 1))
    adapter = IcgAdapter(AdapterConfig.between(vlm, diffusion, **({"heads": heads, "places": True} | sizes)))
    adapter.refiner.silence()
    return adapter


@torch.no_grad()
def standardise(adapter: IcgAdapter, vlm: Any, processor: Any, items: list[tuple[str, tuple]]) -> None:
    """Set the adapter's centre and spread from the (title, pictures) of many items."""
    hidden = [adapter.meta_tokens.read(vlm, reading.inputs(processor, *item)) for item in items]
    if len(hidden) > 1:  # one item has no spread
        adapter.standardise(torch.cat(hidden))


class ConnectorRun:
    """One run; models are on the accelerator's device, `held_out` may be None."""

    def __init__(
        self,
        family: Family,
        adapter: IcgAdapter,
        accelerator: Accelerator,
        source: ConnectorSource,
        held_out: ConnectorSource | None,
        config: ConnectorConfig,
    ) -> None:
        if accelerator.num_processes > 1:
            raise IcgError(f"processes={accelerator.num_processes}; allowed: 1, on one device")
        self.family, self.adapter, self.accelerator = family, adapter.to(accelerator.device), accelerator
        self.source, self.held_out, self.config = source, held_out, config
        adapter.requires_grad_(True)
        adapter.refiner.requires_grad_(source.tastes is not None)
        adapter.meta_tokens.requires_grad_(config.stage == TOKENS)
        for part in (family.denoiser, family.vae):
            part.eval().requires_grad_(False)

    def loss(self, source: ConnectorSource, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The loss of examples of one bucket."""
        config, device = self.config, self.accelerator.device
        shown = rng.random(len(rows)) >= config.drop_picture
        nothing = rng.random(len(rows)) < config.drop_all
        nobody = nothing | (rng.random(len(rows)) < config.drop_user)
        users = source.users(rows, self.adapter.config.user, rng)
        users[nobody] = 0
        with self.accelerator.autocast():
            items = source.items(rows, shown).to(device)
            items = torch.where(torch.as_tensor(nothing, device=device)[:, None, None], self.adapter.nothing, items)
            users = torch.as_tensor(users, device=device)
            clean = source.clean(rows).to(device)
            return latent_loss(self.family, self.adapter, self.family.pipeline.scheduler, clean, items, users)

    @torch.no_grad()
    def validation(self) -> float:
        """The loss of up to HELD_OUT held-out covers, always with the same noise; NaN without held-out covers."""
        if self.held_out is None:
            return float("nan")
        source, total, count = self.held_out, 0.0, 0
        for n in range(source.epochs.length):
            rows = source.epochs.rows(n)
            torch.manual_seed(n)
            total += len(rows) * float(self.loss(source, rows, np.random.default_rng(n)))
            count += len(rows)
            if count >= HELD_OUT:
                break
        return total / count

    @torch.no_grad()
    def ranks(self) -> dict[str, float]:
        """How many different tokens an item has: the effective rank of its readings, and of the conditions that become of them."""
        source, device = self.held_out or self.source, self.accelerator.device
        rows = source.epochs.rows(0)
        items = source.items(rows, np.ones(len(rows), bool)).to(device).float()
        conditions, _ = self.adapter(items, torch.zeros(len(rows), self.adapter.config.user, device=device))
        return {"rank_of_readings": effective_rank(items), "rank_of_conditions": effective_rank(conditions.float())}

    @torch.no_grad()
    def look(self) -> np.ndarray:
        """A grid of held-out covers above those drawn from their readings; of training covers without held-out ones."""
        source = self.held_out or self.source
        most = np.bincount(source.bucket).argmax()
        rows = np.flatnonzero(source.bucket == most)[: self.config.columns]
        device, clean = self.accelerator.device, source.clean(rows)
        size = (clean.shape[3] * self.family.factor, clean.shape[2] * self.family.factor)
        with self.accelerator.autocast():
            items = source.items(rows, np.ones(len(rows), bool)).to(device)
            users = torch.zeros(len(rows), self.adapter.config.user, device=device)
            images = samples.draw(
                self.family, self.adapter, items, users, size, self.config.steps, self.config.guidance
            )
        return samples.grid(samples.pictures(self.family.decode(clean.to(device))), images)

    def run(self, folder: Path, fit: Fit, until: int | None = None) -> dict[str, float]:
        """Train; writes folder/adapter, checkpoints, TensorBoard and config.json. Returns the last losses and the speed.

        Raises CheckpointError if `folder` holds a run with other settings.
        """
        from torch.utils.tensorboard import SummaryWriter

        _check_settings(folder, fit, self.config)

        def step(number: int, rng: np.random.Generator) -> dict[str, Tensor]:
            return {"loss": self.loss(self.source, self.source.epochs.rows(number), rng)}

        log = SummaryWriter(str(folder / "tensorboard" / "held-out"))

        def save(done: int, _: nn.Module) -> None:
            self.adapter.save_pretrained(folder / "adapter")
            log.add_scalar("loss", self.validation(), done)
            log.add_image("samples", self.look(), done, dataformats="HWC")
            log.flush()

        losses = train(
            folder, self.adapter, fit, step, self.config, until, save, self.accelerator, self.config.accumulate
        )
        log.close()
        return {
            **losses,
            "validation": self.validation(),
            **self.ranks(),
            **json.loads((folder / "speed.json").read_text()),
        }


def effective_rank(tokens: Tensor) -> float:
    """(B, M, D) -> 1 to M: the exponential of the entropy of the shares of the squared singular values, mean over B."""
    squares = torch.linalg.svdvals(tokens).square()
    shares = squares / squares.sum(1, keepdim=True)
    return float(torch.special.entr(shares).sum(1).exp().mean())


def _check_settings(folder: Path, fit: Fit, config: ConnectorConfig) -> None:
    if (folder / "checkpoint.pt").is_file() and (folder / "config.json").is_file():
        old, new = json.loads((folder / "config.json").read_text()), {"fit": asdict(fit), "config": asdict(config)}
        if old != new:
            raise CheckpointError(f"out={str(folder)!r} holds a run of {old}; allowed: the same, or a new folder")
