"""Checks whether a VLM, a diffusion model and an adapter fit, and their sizes, from configs and headers: no weights are loaded.

Models are built on torch's meta device, where tensors have shapes and no values. Knows nothing about briefs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from icg.adapter.model import AdapterConfig, IcgAdapter, fits
from icg.brief import Brief
from icg.checkpoints import DIFFUSERS, parameters, read_json, weights
from icg.errors import BriefError, CheckpointError
from icg.models.compatible import FAMILIES, check_index, family_of
from icg.models.families import Family

TOKENS, LAYERS, SIZE = 77, 2, (512, 512)


@dataclass(frozen=True)
class Part:
    """One model: its role, its class and its number of parameters."""

    name: str
    kind: str
    parameters: int

    @property
    def fp32(self) -> int:
        """Bytes in float32."""
        return 4 * self.parameters

    @property
    def bf16(self) -> int:
        """Bytes in bfloat16."""
        return 2 * self.parameters


@dataclass(frozen=True)
class CheckReport:
    """The conditioning is `tokens` x `width` and, if `pooled` is not 0, one vector of that width.

    `reads`: the VLM's model_type. `family`: the diffusion family. `draws`: its denoiser's class.
    `latent`: (C, h, w) for a cover of `size` = (width, height) pixels, whose edges must be multiples of `multiple`.
    """

    reads: str
    family: str
    draws: str
    hidden: int
    tokens: int
    layers: int
    width: int
    pooled: int
    size: tuple[int, int]
    latent: tuple[int, int, int]
    multiple: int
    parts: tuple[Part, ...]


def check(
    vlm: Path,
    diffusion: Path,
    adapter: Path | None = None,
    tokens: int = TOKENS,
    layers: int = LAYERS,
    size: tuple[int, int] = SIZE,
) -> CheckReport:
    """The report of a pair; a saved `adapter` replaces tokens and layers by its own.

    Raises CheckpointError naming what does not fit and what was expected, BriefError for a size that cannot be drawn.
    """
    import torch

    with torch.device("meta"):
        model = _vlm(vlm)
        family, parts = _diffusion(diffusion)
        hidden, spec = int(model.get_input_embeddings().weight.shape[1]), family.spec
        reads, draws = model.config.model_type, type(family.denoiser).__name__
        if adapter is None:
            config = AdapterConfig(
                hidden, spec.width, spec.pooled, tokens=tokens, layers=layers, reads=reads, draws=draws
            )
            between = IcgAdapter(config)
        else:
            config = AdapterConfig.read(adapter)
            fits(config, reads, hidden, draws, spec)
            between = IcgAdapter(config)
            _complete("adapter", adapter, between, weights("adapter", adapter))
    _drawable(size, family.multiple)
    return CheckReport(
        reads,
        "Sana" if type(family) is Family else type(family).__name__,  # the base class is the Sana family
        draws,
        hidden,
        config.tokens,
        config.layers,
        spec.width,
        spec.pooled,
        size,
        family.shape(size),
        family.multiple,
        (_part("vlm", model), *parts, _part("adapter", between)),
    )


def _vlm(folder: Path) -> Any:
    from transformers import AutoConfig, AutoModelForImageTextToText

    headers = weights("vlm", folder)
    family = read_json("vlm", folder / "config.json").get("model_type")

    def build() -> Any:
        return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))

    allowed = "a family of transformers that reads pictures and text"
    model = _built("vlm", folder, f"model_type={family!r}", allowed, build)
    _complete("vlm", folder, model, headers)
    return model


def _diffusion(folder: Path) -> tuple[Family, tuple[Part, ...]]:
    """The family and its parts, without text encoders, which are unused."""
    import diffusers
    import torch

    index = read_json("diffusion", folder / "model_index.json")
    check_index(index)
    role = "unet" if index.get("unet") else "transformer"
    classes = {name: _class_of(index, name, folder) for name in (role, "vae", "scheduler")}
    if classes[role] not in FAMILIES:
        raise CheckpointError(f"diffusion {role}={classes[role]!r}; allowed: {', '.join(FAMILIES)}")
    settings = read_json("diffusion scheduler", folder / "scheduler" / "scheduler_config.json")
    models = {}
    for name, kind in {name: getattr(diffusers, classes[name], None) for name in (role, "vae", "scheduler")}.items():
        part = f"diffusion {name}"
        if kind is None:
            raise CheckpointError(f"{part}={classes[name]!r}; allowed: a class of diffusers {diffusers.__version__}")
        if name == "scheduler":
            with torch.device("cpu"):  # it computes numbers
                build = partial(kind.from_config, settings)
                models[name] = _built(part, folder / name, classes[name], "what this class takes", build)
            continue
        headers = weights(part, folder / name, DIFFUSERS)
        build = partial(kind.from_config, read_json(part, folder / name / "config.json"))
        models[name] = _built(part, folder / name, classes[name], "what this class takes", build)
        _complete(part, folder / name, models[name], headers)
    family = family_of(SimpleNamespace(**models))
    return family, (_part("denoiser", family.denoiser), _part("autoencoder", family.vae))


def _class_of(index: dict[str, object], name: str, folder: Path) -> str:
    """The class of a part in model_index.json, which has [library, class] for each."""
    entry = index.get(name)
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], str):
        raise CheckpointError(
            f"diffusion={str(folder)!r}: {name}={entry!r}; allowed: [library, class] in model_index.json"
        )
    return entry[1]


def _built(part: str, folder: Path, what: str, allowed: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError) as error:
        raise CheckpointError(f"{part}={str(folder)!r}: {what}: {error}; allowed: {allowed}") from error


def _complete(part: str, folder: Path, model: Any, headers: dict[str, tuple[int, ...]]) -> None:
    """Compares only names on both sides: libraries rename parts of older checkpoints when they load them."""
    for name, value in model.state_dict().items():
        if name in headers and headers[name] != tuple(value.shape):
            raise CheckpointError(
                f"{part}={str(folder)!r}: {name!r} is of shape {list(headers[name])}; allowed: {list(value.shape)}, as in config.json"
            )
    actual, expected = parameters(headers), _count(model)
    if actual < expected:
        raise CheckpointError(
            f"{part}={str(folder)!r}: {actual:,} numbers in its weights; allowed: {expected:,}, as in config.json"
        )


def _drawable(size: tuple[int, int], multiple: int) -> None:
    Brief("any", size=size)
    if size[0] % multiple or size[1] % multiple:
        raise BriefError(f"size={size}; allowed: multiples of {multiple} for this diffusion model")


def _part(name: str, model: Any) -> Part:
    return Part(name, type(model).__name__, _count(model))


def _count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())
