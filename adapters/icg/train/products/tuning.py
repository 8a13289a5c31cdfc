"""Fine-tuning on one product's few pictures: Textual Inversion (arXiv:2208.01618), DreamBooth (arXiv:2208.12242). Knows no folder.

Textual Inversion trains vectors among the VLM's input embeddings and no weights. DreamBooth trains weights of the denoiser, low-rank ones
(arXiv:2106.09685) or all of them, with a rare word before the class; prior preservation adds the untuned model's own pictures of the class
to the loss (its section 3.3). Both minimise the diffusion model's own loss.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import IcgError
from icg.products import prompt as reading
from icg.products.library import VECTORS
from icg.products.record import DREAMBOOTH, FULL, METHODS, RARE, TEXTUAL_INVERSION
from icg.train.connector.pretraining import latent_loss
from icg.train.loop import Fit, train

TEMPLATES = ("{}", "a {}", "the {}", "{} picture", "my {}", "one {}")
"""Titles around the vectors, so that they learn the product and not one sentence (arXiv:2208.01618, section 4)."""
NAME = "product"
BATCH = 8
"""Class pictures drawn in one call."""


@dataclass(frozen=True)
class Settings:
    """`steps` and `lr` 0: the method's DEFAULTS. `prior`: add `class_pictures` of the untuned model to the loss, with `prior_weight`;
    textual inversion changes no weights, so it has nothing to preserve. `vectors` of textual inversion, `rank` of dreambooth. Raises
    IcgError naming a value out of range.
    """

    method: str = DREAMBOOTH
    steps: int = 0
    lr: float = 0.0
    batch: int = 4
    seed: int = 0
    rank: int = 32
    vectors: int = 8
    prior: bool = True
    class_pictures: int = 16
    prior_weight: float = 1.0
    size: tuple[int, int] = (128, 128)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise IcgError(f"method={self.method!r}; allowed: {', '.join(METHODS)}")
        spans = {
            "steps": (0, 20_000),
            "batch": (1, 64),
            "rank": (1, 256),
            "vectors": (1, 64),
            "class_pictures": (1, 1000),
        }
        for name, (low, high) in spans.items():
            if not low <= getattr(self, name) <= high:
                raise IcgError(f"{name}={getattr(self, name)}; allowed: {low}..{high}")
        if not 0 <= self.lr <= 1:
            raise IcgError(f"lr={self.lr}; allowed: 0..1")
        steps, lr = DEFAULTS[self.method]
        object.__setattr__(self, "steps", self.steps or steps)
        object.__setattr__(self, "lr", self.lr or lr)
        object.__setattr__(self, "prior", self.prior and self.method != TEXTUAL_INVERSION)


DEFAULTS = {TEXTUAL_INVERSION: (200, 1e-2), DREAMBOOTH: (200, 2e-3), FULL: (150, 5e-4)}
"""(steps, peak rate), measured on the starter: docs/products.md."""


class Tuner:
    """`kind`: the product's class in words. `pictures`: of the product. The pipeline is unchanged after `learning`."""

    def __init__(self, pipeline: CoverPipeline, kind: str, pictures: Sequence[Image.Image], settings: Settings) -> None:
        pipeline.check_size(settings.size)
        pipeline.bare()
        self.pipeline, self.kind, self.settings, self.family = pipeline, kind, settings, pipeline.family
        for part in (pipeline.vlm, pipeline.adapter, self.family.denoiser, self.family.vae):
            part.requires_grad_(False)
        self.clean = self._latents(pictures)
        self._class: Tensor | None = None
        self._vectors: Tensor | None = None

    def class_pictures(self, folder: Path) -> int:
        """Draw the untuned model's pictures of the class into `folder`, or read existing ones. Returns their number."""
        folder.mkdir(parents=True, exist_ok=True)
        count, size = self.settings.class_pictures, self.settings.size
        paths = [folder / f"{n:03}.png" for n in range(count)]
        missing = [n for n, path in enumerate(paths) if not path.is_file()]
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            briefs = [Brief(f"a {self.kind}", seed=self.settings.seed * 100_003 + n, size=size) for n in part]
            for n, picture in zip(part, self.pipeline(briefs), strict=True):
                picture.save(paths[n].with_suffix(".part"), "PNG")
                paths[n].with_suffix(".part").rename(paths[n])
        self._class = self._latents([Image.open(path).convert("RGB") for path in paths])
        return count

    @contextlib.contextmanager
    def learning(self) -> Iterator[nn.Module]:
        """Within the block the pipeline has the new weights, which are yielded as a module."""
        denoiser: Any = self.family.denoiser
        torch.manual_seed(self.settings.seed)
        if self.settings.method == TEXTUAL_INVERSION:
            first = reading.first_vectors(self.pipeline.vlm, self.pipeline.processor, self.kind, self.settings.vectors)
            self._vectors = nn.Parameter(first.to(self.pipeline.device))
            yield nn.ParameterList([self._vectors])
        elif self.settings.method == DREAMBOOTH:
            always = list(getattr(denoiser, "peft_config", {}))
            self.family.add_lora(self.settings.rank, NAME, everywhere=True)
            denoiser.set_adapters([*always, NAME])
            for name, weight in denoiser.named_parameters():
                weight.requires_grad_(f".{NAME}." in name)
            try:
                yield nn.ParameterList([p for p in denoiser.parameters() if p.requires_grad])
            finally:
                if always:
                    denoiser.set_adapters(always)
                    denoiser.delete_adapters(NAME)
                    denoiser.requires_grad_(False)
                else:
                    denoiser.unload_lora()
        else:
            before = {name: value.detach().clone() for name, value in denoiser.named_parameters()}
            denoiser.requires_grad_(True)
            try:
                yield denoiser
            finally:
                denoiser.requires_grad_(False)
                for name, value in denoiser.named_parameters():
                    value.data.copy_(before[name])

    def loss(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """The loss of a batch of the product's pictures, and of half as many of its class."""
        rows = rng.integers(0, len(self.clean), self.settings.batch)
        parts = {"product": self._loss(self.clean[rows], self._title(rng), self._vectors)}
        loss = parts["product"]
        if self.settings.prior and self._class is not None:
            rows = rng.integers(0, len(self._class), max(1, self.settings.batch // 2))
            parts["class"] = self._loss(self._class[rows], (f"a {self.kind}", ""))
            loss = loss + self.settings.prior_weight * parts["class"]
        return {"loss": loss, **parts}

    def seconds_a_step(self) -> float:
        """Seconds of a training step, measured on one that changes nothing, after one for warm-up."""
        with self.learning():
            for _ in range(2):
                began = time.perf_counter()
                self.loss(np.random.default_rng(0))["loss"].backward()
            return time.perf_counter() - began

    def tensors(self, before: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The trained tensors, in half precision; inside `learning`. before: the untuned denoiser's weights, if all of them are trained."""
        if self._vectors is not None:
            return {VECTORS: self._vectors.detach().float().cpu()}
        if before is not None:
            now = dict(self.family.denoiser.named_parameters())
            return {name: (now[name].detach().cpu() - old).half() for name, old in before.items()}
        from peft import get_peft_model_state_dict

        return {
            name: value.half()
            for name, value in get_peft_model_state_dict(self.family.denoiser, adapter_name=NAME).items()
        }

    def run(self, folder: Path, until: int | None = None) -> dict[str, Tensor]:
        """Train, or resume from `folder`; returns the tensors of icg.products.library.TrainedProduct."""
        if self.settings.prior:
            self.class_pictures(folder / "class")
        settings, steps = self.settings, self.settings.steps
        warmup, save_every = min(10, steps), max(1, min(50, steps // 4))
        fit = Fit(steps, settings.lr, settings.batch, settings.seed, warmup, weight_decay=0.0, save_every=save_every)
        whole = settings.method == FULL
        before = {n: v.detach().cpu().clone() for n, v in self.family.denoiser.named_parameters()} if whole else None
        with self.learning() as model:
            train(folder, model, fit, lambda _, rng: self.loss(rng), settings, until)
            return self.tensors(before)

    def _title(self, rng: np.random.Generator) -> tuple[str, str]:
        if self._vectors is None:
            return f"a {RARE} {self.kind}", ""
        before, after = TEMPLATES[int(rng.integers(len(TEMPLATES)))].split("{}")
        return before, after

    def _loss(self, clean: Tensor, texts: tuple[str, str], vectors: Tensor | None = None) -> Tensor:
        pipeline = self.pipeline
        with contextlib.nullcontext() if vectors is not None else torch.no_grad():
            item = reading.read(pipeline.adapter, pipeline.vlm, pipeline.processor, texts, vectors)
        users = torch.zeros(len(clean), pipeline.adapter.config.user, device=item.device)
        items = item.expand(len(clean), -1, -1)
        return latent_loss(self.family, pipeline.adapter, pipeline.diffusion.scheduler, clean, items, users)

    @torch.no_grad()
    def _latents(self, pictures: Sequence[Image.Image]) -> Tensor:
        size = self.settings.size
        fitted = [ImageOps.fit(p.convert("RGB"), size, Image.Resampling.LANCZOS) for p in pictures]
        pixels = torch.from_numpy(np.stack([np.asarray(p) for p in fitted])).permute(0, 3, 1, 2).float() / 127.5 - 1
        return torch.cat([self.family.encode(p[None].to(self.pipeline.device)) for p in pixels])


def smoke(settings: Settings) -> Settings:
    """The same settings for a run of seconds."""
    return replace(settings, steps=3, batch=2, rank=2, class_pictures=2)
