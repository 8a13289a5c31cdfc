"""What a diffusion model's own text encoder gives to its denoiser: how large conditions are that it was trained with. Knows no adapter."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from icg.checkpoints import read_json
from icg.errors import CheckpointError

PARTS = ("text_encoder", "tokenizer")


def text_scale(folder: Path, titles: list[str]) -> float | None:
    """Root mean square of prompt_embeds of `titles`, by the text encoders of a diffusers folder; None for a folder without them.

    They are T5 and CLIP models of up to 10 GB, so they are loaded in bfloat16, and left again. Raises CheckpointError for broken ones.
    """
    from diffusers import DiffusionPipeline

    stated = read_json("diffusion", folder / "model_index.json")
    parts = [name for name, value in stated.items() if isinstance(value, list)]
    used = [name for name in parts if name.startswith(PARTS)]
    if not any(name.startswith("text_encoder") for name in used) or not all((folder / name).is_dir() for name in used):
        return None
    unused: dict[str, Any] = {name: None for name in parts if name not in used}
    unused |= {"requires_safety_checker": False} if "requires_safety_checker" in stated else {}
    try:
        pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.bfloat16, use_safetensors=True, **unused)
        options = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        known = inspect.signature(pipeline.encode_prompt).parameters
        with torch.inference_mode():
            embeds = pipeline.encode_prompt(
                titles, **{name: value for name, value in options.items() if name in known}
            )[0]
    except (OSError, ValueError, AttributeError, RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"diffusion={str(folder)!r}: its text encoder is not readable ({error}); allowed: a diffusers folder, or one without it"
        ) from error
    return float(embeds.float().square().mean().sqrt())
