"""Frozen picture encoders under one interface: the shipped trunk, or the vision tower of a transformers folder. Knows no space.

Pictures are squeezed to a square of `side` pixels, never cropped: the edges of a cover belong to it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icg.checkpoints import read_json, weights
from icg.errors import CheckpointError
from icg.models.dual import SIDE, DualEncoder
from icg.models.trunk import LOOKS, Trunk

MEAN, DEVIATION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""Of a processor that names none."""


class TrunkPictures(nn.Module):
    """The dual encoder's trunk: (B, 3, 128, 128) in [-1, 1] -> (B, sum(LOOKS)). `parts`: widths of parts of equal weight."""

    side, parts = SIDE, LOOKS

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor) -> Tensor:
        return self.trunk.looks(pixels)


class TowerPictures(nn.Module):
    """A vision transformer: (B, 3, side, side) in [-1, 1] -> (B, 2 hidden), its pooled output beside the mean of its patches."""

    def __init__(self, tower: Any, side: int, mean: list[float], deviation: list[float]) -> None:
        super().__init__()
        self.tower, self.side, self.parts = tower, side, (int(tower.config.hidden_size),) * 2
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        out = self.tower(pixel_values=((pixels + 1) / 2 - self.mean) / self.deviation)
        patches = out.last_hidden_state
        pooled = out.pooler_output if getattr(out, "pooler_output", None) is not None else patches[:, 0]
        return torch.cat([pooled, patches.mean(1)], -1)


PictureEncoder = TrunkPictures | TowerPictures


def load(folder: Path) -> PictureEncoder:
    """A folder of `DualEncoder.save_pretrained`, or of transformers (CLIP, SigLIP, DINO, ViT), frozen.

    Raises CheckpointError for a folder that is missing, pickled, broken or without a vision transformer.
    """
    config = read_json("encoder", folder / "config.json")
    weights("encoder", folder)  # refuses pickles by name, before transformers looks for files
    encoder = _tower(folder) if "model_type" in config else TrunkPictures(DualEncoder.from_pretrained(folder).trunk)
    return encoder.eval().requires_grad_(False)


def digest(encoder: nn.Module) -> str:
    """16 hex digits of the encoder's weights: two encoders of equal digests give equal features."""
    state = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(encoder.state_dict().items()):
        state.update(f"{name}{tuple(tensor.shape)}".encode())
        state.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def _tower(folder: Path) -> TowerPictures:
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"encoder={str(folder)!r}: {error}") from error
    tower = getattr(model, "vision_model", model)
    side = getattr(tower.config, "image_size", None)
    if not isinstance(side, int) or not hasattr(tower.config, "hidden_size"):
        kind = type(model).__name__
        raise CheckpointError(f"encoder={str(folder)!r}: a {kind}; allowed: a vision transformer such as CLIP or DINO")
    processor = folder / "preprocessor_config.json"
    normal = read_json("encoder", processor) if processor.is_file() else {}
    mean, deviation = (normal.get(name, default) for name, default in (("image_mean", MEAN), ("image_std", DEVIATION)))
    return TowerPictures(tower, side, list(mean), list(deviation))  # type: ignore[call-overload]
