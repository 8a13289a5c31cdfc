"""The training loop all recipes share: cosine rate, progress bar, TensorBoard, exact resume. Knows no model.

Every step draws its randomness from (seed, step) alone, so a run that stops and resumes ends at the same loss as one
that does not.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from icg.errors import CheckpointError
from icg.train.throughput import Speed, flop_counter

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Fit:
    """How long and how fast. `lr` is the peak, reached after `warmup` steps; `clip` bounds the gradient. `halfway`: the rate stays, and is
    a tenth from half way."""

    steps: int
    lr: float
    batch: int
    seed: int = 0
    warmup: int = 100
    clip: float = 1.0
    weight_decay: float = 0.01
    save_every: int = 500
    ema: float = 0.0
    halfway: bool = False


def rate(fit: Fit, step: int) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak."""
    if step < fit.warmup:
        return fit.lr * (step + 1) / fit.warmup
    if fit.halfway:
        return fit.lr * (1 if step < fit.steps / 2 else 0.1)
    progress = (step - fit.warmup) / max(1, fit.steps - fit.warmup)
    return fit.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


@contextmanager
def flushed() -> Iterator[None]:
    """What begins at zero makes numbers so small that CPUs take twenty times as long over them: here they are zero."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@flushed()
def train(
    folder: Path,
    model: nn.Module,
    fit: Fit,
    loss_of: Callable[[int, np.random.Generator], Mapping[str, torch.Tensor]],
    config: object = None,
    until: int | None = None,
    on_save: Callable[[int, nn.Module], bool | None] | None = None,
    accelerator: Accelerator | None = None,
    accumulate: int = 1,
) -> dict[str, float]:
    """Minimise `loss_of(step, rng)["loss"]` over the trainable parameters of `model`; returns the last step's losses.

    `accelerator` says on which device, the CPU without one. With `accumulate` > 1 a step is the mean of that many calls,
    numbered on from step * accumulate, so that a batch may be larger than memory.

    Prints examples a second and the share of the machine's matmul ceiling, also left in `folder/speed.json`.
    Resumes from `folder/checkpoint.pt` when there; `until` stops early (for tests). With `fit.ema`, the averaged
    weights are left in `model` at the end and passed to `on_save` at each save; when that returns True, training ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save_config(folder, fit, config)
    backward = accelerator.backward if accelerator is not None else torch.Tensor.backward
    speed, counter = Speed(accelerator.device if accelerator is not None else torch.device("cpu")), flop_counter()
    if accelerator is not None:
        model.to(accelerator.device)
    weights = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": fit.weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=fit.lr, betas=(0.9, 0.97))
    average = [p.detach().clone() for p in weights] if fit.ema else None
    start = _resume(folder / "checkpoint.pt", model, optimizer, average)
    last = min(fit.steps, until or fit.steps)
    log = _writer(folder)
    losses: dict[str, float] = {}
    began = time.monotonic()
    bar = tqdm(range(start, last), initial=start, total=fit.steps, desc=folder.name, mininterval=5.0)
    for step in bar:
        torch.manual_seed(fit.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = rate(fit, step)
        rng = np.random.default_rng((fit.seed, step))
        parts: dict[str, torch.Tensor] = {}
        for part in range(accumulate):
            speed.count(fit.batch)
            found = loss_of(step * accumulate + part, rng)
            if part == 0:
                optimizer.zero_grad(set_to_none=True)
            backward(found["loss"] / accumulate)
            parts = {name: parts.get(name, 0) + value.detach() / accumulate for name, value in found.items()}
        torch.nn.utils.clip_grad_norm_(weights, fit.clip)
        optimizer.step()
        if average is not None:
            decay = min(fit.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in weights], 1 - decay)
        if step % 50 == 0 or step == last - 1:
            losses = {k: float(v) for k, v in parts.items()}
            for name, value in losses.items():
                log.add_scalar(name, value, step)
            bar.set_postfix({k: f"{v:.4f}" for k, v in losses.items()}, refresh=False)
        if (step + 1) % fit.save_every == 0 or step == last - 1:
            _save(folder / "checkpoint.pt", step + 1, model, optimizer, average)
            if on_save is not None:
                with averaged(weights, average):
                    if on_save(step + 1, model):
                        break
    speed.stop()
    log.add_scalar("seconds", time.monotonic() - began, last)
    half = accelerator is not None and accelerator.mixed_precision == "bf16"
    if last > start:
        with counter:  # one more step, its gradients unused: numbers come out a little different while it counts
            backward(loss_of(start, np.random.default_rng(fit.seed))["loss"])
        optimizer.zero_grad(set_to_none=True)
    speed.save(folder, counter.get_total_flops() / fit.batch, torch.bfloat16 if half else torch.float32)
    log.close()
    if average is not None:
        for p, a in zip(weights, average, strict=True):
            p.data.copy_(a)
    return losses


class averaged:
    """Within the block the weights are their averages."""

    def __init__(self, weights: list[nn.Parameter], average: list[torch.Tensor] | None) -> None:
        self.weights, self.average = weights, average

    def __enter__(self) -> None:
        self.kept = [p.detach().clone() for p in self.weights] if self.average is not None else []
        self._copy(self.average or [])

    def __exit__(self, *_: object) -> None:
        self._copy(self.kept)

    def _copy(self, source: list[torch.Tensor]) -> None:
        for p, a in zip(self.weights, source, strict=bool(source)):
            p.data.copy_(a)


def _save(path: Path, step: int, model: nn.Module, optimizer: Any, average: list[torch.Tensor] | None) -> None:
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _resume(path: Path, model: nn.Module, optimizer: Any, average: list[torch.Tensor] | None) -> int:
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise CheckpointError(
            f"checkpoint={str(path)!r}: not of this recipe ({error}); allowed: a new run folder"
        ) from error
    optimizer.load_state_dict(state["optimizer"])
    for mine, saved in zip(average or [], state["average"] or [], strict=True):
        mine.copy_(saved)
    return int(state["step"])


def _save_config(folder: Path, fit: Fit, config: object) -> None:
    resolved = {"fit": asdict(fit), "config": asdict(config) if config is not None else None}  # type: ignore[call-overload]
    (folder / "config.json").write_text(json.dumps(resolved, indent=2, default=str))


def _writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
