"""Stock diffusers pipelines: read from a folder, and with another denoiser. Knows no adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from icg.checkpoints import DIFFUSERS, read_json, variant_of, weights
from icg.errors import CheckpointError
from icg.models.compatible import check_index


def denoiser_name(diffusion: Any) -> str:
    """The component of a stock pipeline that each step calls."""
    return "unet" if getattr(diffusion, "transformer", None) is None else "transformer"


def with_denoiser(diffusion: Any, folder: Path) -> Any:
    """The same stock pipeline with the denoiser in `folder`, of the same class. CheckpointError for one that does not load."""
    name = denoiser_name(diffusion)
    weights("grounds denoiser", folder, DIFFUSERS)
    try:
        kind = type(getattr(diffusion, name))
        denoiser = kind.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"grounds={str(folder)!r}: not readable ({error}); allowed: a {kind.__name__} with safetensors"
        ) from error
    return type(diffusion)(**diffusion.components | {name: denoiser})


def load_diffusion(folder: Path) -> Any:
    """The stock pipeline in `folder`, of which only these parts are used: conditions come as prompt_embeds."""
    from diffusers import DiffusionPipeline

    stated = read_json("diffusion", folder / "model_index.json")
    check_index(stated)
    parts = [name for name, value in stated.items() if isinstance(value, list)]
    used = [name for name in parts if name in ("unet", "transformer", "vae")]
    for name in used:
        weights(f"diffusion {name}", folder / name, DIFFUSERS)
    unused: dict[str, Any] = {name: None for name in parts if name not in (*used, "scheduler")}
    unused |= {"requires_safety_checker": False} if "requires_safety_checker" in stated else {}
    variants = {variant_of(folder / name, DIFFUSERS) for name in used}
    if len(variants) > 1:
        named = ", ".join(f"{name}/ {variant_of(folder / name, DIFFUSERS) or 'without one'}" for name in used)
        raise CheckpointError(f"diffusion={str(folder)!r}: weights of several variants ({named}); allowed: one for all")
    kwargs = {"dtype": torch.float32, "use_safetensors": True, "variant": "".join(variants) or None}
    try:
        return DiffusionPipeline.from_pretrained(folder, **kwargs, **unused)
    except (OSError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"diffusion={str(folder)!r}: not readable ({error}); allowed: a diffusers folder with safetensors"
        ) from error
