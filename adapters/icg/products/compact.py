"""A ControlNet of Sana kept as what it differs from the denoiser's own first blocks, of low rank: an eighth of the bytes.

As Control-LoRAs do for Stable Diffusion. Trained weights turn out to differ so little (docs/log.md) that rank 8 is enough for the starter.
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
"""Parts of the denoiser that the ControlNet has too."""
FILE = "model.safetensors"


def from_denoiser(denoiser: SanaTransformer2DModel, layers: int) -> SanaControlNetModel:
    """Its first blocks; what it adds is zero until it is trained."""
    from diffusers import SanaControlNetModel

    known = {k: v for k, v in denoiser.config.items() if k in SanaControlNetModel.__init__.__annotations__}
    made = SanaControlNetModel(**known | {"num_layers": layers})
    for name in SHARED:
        getattr(made, name).load_state_dict(getattr(denoiser, name).state_dict())
    for mine, its in zip(made.transformer_blocks, denoiser.transformer_blocks, strict=False):
        mine.load_state_dict(its.state_dict())
    return made


def save(folder: Path, net: SanaControlNetModel, denoiser: SanaTransformer2DModel, rank: int) -> None:
    """Write config.json and model.safetensors, in half precision. What begins at zero, and what is small, is kept whole."""
    folder.mkdir(parents=True, exist_ok=True)
    stated = json.loads(net.to_json_string())
    stated.pop("_name_or_path", None)  # of the machine it was made on
    (folder / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
    before, kept = from_denoiser(denoiser, net.config.num_layers).state_dict(), {}
    for name, value in net.state_dict().items():
        change = (value - before[name]).float()
        if change.ndim < 2 or not before[name].any() or min(change.flatten(1).shape) <= 2 * rank:
            kept[name] = change
            continue
        left, size, right = torch.linalg.svd(change.flatten(1), full_matrices=False)
        kept[f"{name}|up"], kept[f"{name}|down"] = left[:, :rank] * size[:rank], right[:rank]
    save_file({k: v.half().contiguous() for k, v in kept.items()}, folder / FILE)


def load(folder: Path, denoiser: SanaTransformer2DModel) -> SanaControlNetModel:
    """What `save` wrote, on this denoiser's blocks; CheckpointError when it is not whole or of other widths."""
    layers = read_json("controlnet", folder / "config.json").get("num_layers")
    if not isinstance(layers, int) or not 1 <= layers < len(denoiser.transformer_blocks):
        allowed = f"1..{len(denoiser.transformer_blocks) - 1}"
        raise CheckpointError(
            f"controlnet={str(folder)!r}: num_layers={layers!r}; allowed: {allowed} for this denoiser"
        )
    weights("controlnet", folder)
    net = from_denoiser(denoiser, layers)
    try:
        kept = {name: value.float() for name, value in load_file(folder / FILE).items()}
        changes: dict[str, Tensor] = {name: value for name, value in kept.items() if "|" not in name}
        for name in {name.split("|")[0] for name in kept} - set(changes):
            changes[name] = kept[f"{name}|up"] @ kept[f"{name}|down"]
        if set(changes) != set(net.state_dict()):
            raise KeyError(min(set(changes) ^ set(net.state_dict())))
        for name, value in net.state_dict().items():
            value += changes[name].view_as(value)
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"controlnet={str(folder)!r}: not for this denoiser ({error})") from error
    return net
