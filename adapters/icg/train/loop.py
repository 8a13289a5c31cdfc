"""The training loop of all recipes: cosine learning rate, progress bar, TensorBoard, exact resume. Knows no model.

The randomness of a step depends on (seed, step) only, so a run that stops and resumes ends at the same loss as an uninterrupted one.
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

LossOf = Callable[[int, np.random.Generator], Mapping[str, torch.Tensor]]
"""(step, generator) -> losses by name; "loss" is minimised."""


@dataclass(frozen=True)
class Fit:
    """Steps and learning rate. `lr` is the peak, reached after `warmup` steps; `clip` bounds the gradient. `halfway`: the rate is constant,
    and a tenth in the second half. `constant`: it stays, so that a longer run begins as a shorter one."""

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
    constant: bool = False


def rate(fit: Fit, step: int) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak."""
    if step < fit.warmup:
        return fit.lr * (step + 1) / fit.warmup
    if fit.constant:
        return fit.lr
    if fit.halfway:
        return fit.lr * (1 if step < fit.steps / 2 else 0.1)
    progress = (step - fit.warmup) / max(1, fit.steps - fit.warmup)
    return fit.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


@contextmanager
def flushed() -> Iterator[None]:
    """Treat denormals as zero: weights that start at zero produce them, and CPUs take twenty times as long with them."""
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
    loss_of: LossOf,
    config: object = None,
    until: int | None = None,
    on_save: Callable[[int, nn.Module], bool | None] | None = None,
    accelerator: Accelerator | None = None,
    accumulate: int = 1,
    quiet: bool = False,
) -> dict[str, float]:
    """Minimise `loss_of(step, rng)["loss"]` over the trainable parameters of `model`; returns the last step's losses.

    `accelerator` sets the device; without one it is the CPU. With `accumulate` > 1 a step is the mean of that many calls, numbered from
    step * accumulate, so that a batch may be larger than memory.

    Prints examples a second and the share of the machine's peak matmul rate, also written to `folder/speed.json`; not if `quiet`, as for
    one of many short parts.
    Resumes from `folder/checkpoint.pt` if it exists; `until` stops early (for tests). With `fit.ema`, `model` has the averaged weights at
    the end and in every `on_save`; training ends if `on_save` returns True.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save_config(folder, fit, config)
    updates = _Updates(model, fit, loss_of, accelerator, accumulate)
    start, last = updates.resume(folder / "checkpoint.pt"), min(fit.steps, until or fit.steps)
    log = _writer(folder)
    losses: dict[str, float] = {}
    began = time.monotonic()
    bar = tqdm(range(start, last), initial=start, total=fit.steps, desc=folder.name, mininterval=5.0, disable=quiet)
    for step in bar:
        parts = updates.step(step)
        if step % 50 == 0 or step == last - 1:
            losses = {k: float(v) for k, v in parts.items()}
            for name, value in losses.items():
                log.add_scalar(name, value, step)
            bar.set_postfix({k: f"{v:.4f}" for k, v in losses.items()}, refresh=False)
        if (step + 1) % fit.save_every == 0 or step == last - 1:
            updates.save(folder / "checkpoint.pt", step + 1)
            if on_save is not None:
                with averaged(updates.weights, updates.average):
                    if on_save(step + 1, model):
                        break
    updates.speed.stop()
    log.add_scalar("seconds", time.monotonic() - began, last)
    if not quiet:
        updates.measure(folder, start, last)
    log.close()
    if updates.average is not None:
        _copy(updates.weights, updates.average)
    return losses


class _Updates:
    """The optimizer's steps on a model's trainable weights, and their moving averages."""

    def __init__(
        self, model: nn.Module, fit: Fit, loss_of: LossOf, accelerator: Accelerator | None, accumulate: int
    ) -> None:
        self.model, self.fit, self.loss_of, self.accumulate = model, fit, loss_of, accumulate
        self.speed = Speed(accelerator.device if accelerator is not None else torch.device("cpu"))
        self.backward = accelerator.backward if accelerator is not None else torch.Tensor.backward
        self.half = accelerator is not None and accelerator.mixed_precision == "bf16"
        if accelerator is not None:
            model.to(accelerator.device)
        self.weights = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self.weights if p.ndim > 1], "weight_decay": fit.weight_decay},
            {"params": [p for p in self.weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=fit.lr, betas=(0.9, 0.97))
        self.average = [p.detach().clone() for p in self.weights] if fit.ema else None

    def step(self, number: int) -> dict[str, torch.Tensor]:
        """One step; returns its mean losses."""
        torch.manual_seed(self.fit.seed * 1_000_003 + number)
        rng = np.random.default_rng((self.fit.seed, number))
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.fit, number)
        means: dict[str, torch.Tensor] = {}
        for part in range(self.accumulate):
            self.speed.count(self.fit.batch)
            losses = self.loss_of(number * self.accumulate + part, rng)
            if part == 0:
                self.optimizer.zero_grad(set_to_none=True)
            self.backward(losses["loss"] / self.accumulate)
            means = {name: means.get(name, 0) + value.detach() / self.accumulate for name, value in losses.items()}
        torch.nn.utils.clip_grad_norm_(self.weights, self.fit.clip)
        self.optimizer.step()
        if self.average is not None:
            decay = min(self.fit.ema, (1 + number) / (10 + number))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.weights], 1 - decay)
        return means

    def measure(self, folder: Path, start: int, last: int) -> None:
        """Print and write the speed of the steps from `start` to `last`."""
        operations = self.operations(start) if last > start else 0.0
        self.speed.save(folder, operations, torch.bfloat16 if self.half else torch.float32)

    def operations(self, number: int) -> float:
        """Floating-point operations of an example, counted in a step without an update: counting changes the numbers a little."""
        with flop_counter() as counter:
            self.backward(self.loss_of(number, np.random.default_rng(self.fit.seed))["loss"])
        self.optimizer.zero_grad(set_to_none=True)
        return counter.get_total_flops() / self.fit.batch

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint, atomically."""
        state = {"step": step, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"average": self.average}, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def resume(self, path: Path) -> int:
        """Load a checkpoint if there is one; returns the next step. Raises CheckpointError for that of another recipe."""
        if not path.exists():
            return 0
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise CheckpointError(
                f"checkpoint={str(path)!r}: not of this recipe ({error}); allowed: a new run folder"
            ) from error
        self.optimizer.load_state_dict(state["optimizer"])
        for value, saved in zip(self.average or [], state["average"] or [], strict=True):
            value.copy_(saved)
        return int(state["step"])


@contextmanager
def averaged(weights: list[nn.Parameter], average: list[torch.Tensor] | None) -> Iterator[None]:
    """Within the block the weights are their averages, if there are any."""
    if average is None:
        yield
        return
    current = [p.detach().clone() for p in weights]
    _copy(weights, average)
    try:
        yield
    finally:
        _copy(weights, current)


def _copy(weights: list[nn.Parameter], source: list[torch.Tensor]) -> None:
    for weight, value in zip(weights, source, strict=True):
        weight.data.copy_(value)


def _save_config(folder: Path, fit: Fit, config: object) -> None:
    resolved = {"fit": asdict(fit), "config": asdict(config) if config is not None else None}  # type: ignore[call-overload]
    (folder / "config.json").write_text(json.dumps(resolved, indent=2, default=str))


def _writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
