"""A Sana ControlNet stored as its low-rank difference from the denoiser's first blocks: an eighth of the bytes.

Like Control-LoRAs for Stable Diffusion. Trained weights differ so little (docs/log.md) that rank 8 is enough for the starter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from icg.checkpoints import read_json, weights
from icg.errors import CheckpointError

if TYPE_CHECKING:
    from diffusers import SanaControlNetModel, SanaTransformer2DModel

SHARED = ("patch_embed", "time_embed", "caption_projection", "caption_norm")
"""Modules of the denoiser that the ControlNet has too."""
FILE = "model.safetensors"


def from_denoiser(denoiser: SanaTransformer2DModel, layers: int) -> SanaControlNetModel:
    """A ControlNet with the denoiser's first blocks; its residuals are zero until it is trained."""
    from diffusers import SanaControlNetModel

    config = {k: v for k, v in denoiser.config.items() if k in SanaControlNetModel.__init__.__annotations__}
    net = SanaControlNetModel(**config | {"num_layers": layers})
    for name in SHARED:
        getattr(net, name).load_state_dict(getattr(denoiser, name).state_dict())
    for block, source in zip(net.transformer_blocks, denoiser.transformer_blocks, strict=False):
        block.load_state_dict(source.state_dict())
    return net


def save(folder: Path, net: SanaControlNetModel, denoiser: SanaTransformer2DModel, rank: int) -> None:
    """Write config.json and model.safetensors, in half precision. Small tensors, and those that start at zero, keep their full rank."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(net.to_json_string())
    config.pop("_name_or_path", None)  # a path of the training machine
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    before, tensors = from_denoiser(denoiser, net.config.num_layers).state_dict(), {}
    for name, value in net.state_dict().items():
        change = (value - before[name]).float()
        if change.ndim < 2 or not before[name].any() or min(change.flatten(1).shape) <= 2 * rank:
            tensors[name] = change
            continue
        left, size, right = torch.linalg.svd(change.flatten(1), full_matrices=False)
        tensors[f"{name}|up"], tensors[f"{name}|down"] = left[:, :rank] * size[:rank], right[:rank]
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, folder / FILE)


def load(folder: Path, denoiser: SanaTransformer2DModel) -> SanaControlNetModel:
    """Read a folder of `save` for this denoiser. Raises CheckpointError if it is incomplete or of other widths."""
    layers = read_json("controlnet", folder / "config.json").get("num_layers")
    if not isinstance(layers, int) or not 1 <= layers < len(denoiser.transformer_blocks):
        allowed = f"1..{len(denoiser.transformer_blocks) - 1}"
        raise CheckpointError(
            f"controlnet={str(folder)!r}: num_layers={layers!r}; allowed: {allowed} for this denoiser"
        )
    weights("controlnet", folder)
    net = from_denoiser(denoiser, layers)
    try:
        tensors = {name: value.float() for name, value in load_file(folder / FILE).items()}
        changes: dict[str, Tensor] = {name: value for name, value in tensors.items() if "|" not in name}
        for name in {name.split("|")[0] for name in tensors} - set(changes):
            changes[name] = tensors[f"{name}|up"] @ tensors[f"{name}|down"]
        if set(changes) != set(net.state_dict()):
            raise KeyError(min(set(changes) ^ set(net.state_dict())))
        for name, value in net.state_dict().items():
            value += changes[name].view_as(value)
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"controlnet={str(folder)!r}: not for this denoiser ({error})") from error
    return net
