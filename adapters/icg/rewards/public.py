"""PickScore and HPSv2: what people preferred among generated pictures, as CLIP ViT-H/14 models of their own.

Both load from transformers folders. HPSv2 is published as an open_clip pickle: converted to safetensors and put beside
the configuration of the CLIP it was tuned from, its names are translated here, so that neither the `hpsv2` package
(which cannot be installed with a current protobuf) nor open_clip is needed. Knows no users.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch

from icg.errors import CheckpointError
from icg.rewards.clip import Clip, ClipRelevance
from icg.rewards.folders import check_folder, read_weights
from icg.rewards.open_clip import translated

MOST = 100.0
"""CLIP caps its scale here."""


class PickScore(ClipRelevance):
    """Scale x cosine (arXiv:2305.01569), within ± the model's scale, 100 for the published one; covers get 15 to 25."""

    name = "pickscore"

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self.scale = min(MOST, float(clip.model.logit_scale.exp()))
        self.range = (-self.scale, self.scale)


class Hpsv2(ClipRelevance):
    """Cosine of a tuned CLIP (arXiv:2306.09341), in -1..1; covers get 0.2 to 0.35."""

    name = "hpsv2"

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", weights: str | Path | None = None, **more: Any
    ) -> Self:
        """`folder`: the model in transformers' layout; or config, tokenizer and processor of the CLIP it was tuned from
        with HPS_v2*.safetensors (open_clip names) beside them or named by `weights`. CheckpointError otherwise."""
        folder = check_folder("hpsv2", folder, "config.json")
        path = Path(weights) if weights is not None else _hps_file(folder)
        if path is None:
            return super().from_pretrained(folder, device, **more)
        return cls(_with_weights(folder, path, device))


def _hps_file(folder: Path) -> Path | None:
    """The newest HPS_v2* file; a pickle is returned too, so that reading it says how to convert it."""
    found = sorted(p for p in folder.glob("HPS_v2*") if p.suffix in (".safetensors", ".pt"))
    safe = [p for p in found if p.suffix == ".safetensors"]
    return (safe or found or [None])[-1]


def _with_weights(folder: Path, path: Path, device: str | torch.device) -> Clip:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPConfig, CLIPModel

    weights = translated(read_weights("hpsv2", path))
    try:
        model = CLIPModel(CLIPConfig.from_pretrained(folder, local_files_only=True))
        model.load_state_dict(weights)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        images = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"hpsv2={str(path)!r} does not fit {str(folder)!r}: {error}") from error
    return Clip(model, tokenizer, images, device)
