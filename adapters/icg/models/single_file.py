"""A diffusion model that comes as one file (as from Civitai or ComfyUI) becomes a diffusers folder. Knows no adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from icg.checkpoints import read_json
from icg.errors import CheckpointError

USED = ("unet", "transformer", "vae")
BROKEN = (ValueError, KeyError, OSError, RuntimeError, AttributeError, StopIteration)
"""What diffusers raises for a file of another architecture."""


def convert(file: Path, config: Path, out: Path) -> None:
    """Write denoiser, autoencoder and scheduler of `file`, in the precision that it has, as the folder `out`.

    config: a diffusers folder of this architecture, of which the configurations alone are read. Raises CheckpointError, before `out`
    exists, for a file that is no safetensors, does not hold these parts, or is of another architecture.
    """
    import diffusers
    from diffusers.loaders.single_file_utils import SingleFileComponentError
    from safetensors import SafetensorError, safe_open

    if out.exists():
        raise CheckpointError(f"out={str(out)!r}: it exists; allowed: a new folder")
    if file.suffix != ".safetensors" or not file.is_file():
        raise CheckpointError(
            f"file={str(file)!r}; allowed: an existing .safetensors file (pickled ones are never read)"
        )
    stated = read_json("config", config / "model_index.json")
    kind = getattr(diffusers, str(stated.get("_class_name")), None)
    if kind is None or not hasattr(kind, "from_single_file"):
        name = stated.get("_class_name")
        raise CheckpointError(
            f"config={str(config)!r}: {name!r}; allowed: a pipeline that diffusers reads from one file"
        )
    parts = [name for name, value in stated.items() if isinstance(value, list)]
    unused: dict[str, Any] = {name: None for name in parts if name not in (*USED, "scheduler")}
    unused |= {"requires_safety_checker": False} if "requires_safety_checker" in stated else {}
    waiting = out.with_name(f".{out.name}.part")
    shutil.rmtree(waiting, ignore_errors=True)
    try:
        with safe_open(file, "pt") as tensors:
            first = tensors.get_tensor(next(iter(tensors.keys())))
        dtype = first.dtype if first.is_floating_point() else torch.float32
        pipeline = kind.from_single_file(str(file), config=str(config), local_files_only=True, dtype=dtype, **unused)
        for name in USED:
            model = getattr(pipeline, name, None)
            if model is not None and any(weight.is_meta for weight in model.parameters()):
                raise ValueError(f"it has not all weights of {name}/")
        pipeline.save_pretrained(waiting, safe_serialization=True)
    except (*BROKEN, SafetensorError, SingleFileComponentError) as error:
        shutil.rmtree(waiting, ignore_errors=True)
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"file={str(file)!r}: no {kind.__name__} as config={str(config)!r} says ({reason}); allowed: a file of this architecture"
        ) from error
    index = {name: value for name, value in json.loads((waiting / "model_index.json").read_text()).items() if value}
    (waiting / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    waiting.rename(out)
