"""PickScore and HPSv2: people's preference among generated pictures, each by its own CLIP ViT-H/14.

Both load from transformers folders. HPSv2 is published as an open_clip pickle: convert it to safetensors and put it into the folder
with the configuration of the CLIP that it was fine-tuned from. Its names are translated here, so neither the `hpsv2` package
(which cannot be installed with a current protobuf) nor open_clip is needed. Knows no users.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch

from icg.errors import CheckpointError
from icg.rewards.clip import Clip, ClipRelevance
from icg.rewards.folders import check_folder, read_weights
from icg.rewards.open_clip import to_transformers

MAX_SCALE = 100.0
"""CLIP's limit of its logit scale."""


class PickScore(ClipRelevance):
    """Scale x cosine (arXiv:2305.01569), within ± the model's scale, 100 for the published model; covers get 15 to 25."""

    name = "pickscore"

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self.scale = min(MAX_SCALE, float(clip.model.logit_scale.exp()))
        self.range = (-self.scale, self.scale)


class Hpsv2(ClipRelevance):
    """Cosine of a fine-tuned CLIP (arXiv:2306.09341), in -1..1; covers get 0.2 to 0.35."""

    name = "hpsv2"

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", weights: str | Path | None = None, **options: Any
    ) -> Self:
        """folder: the model in transformers' layout; or config, tokenizer and processor of the CLIP that it was fine-tuned from, with
        HPS_v2*.safetensors (open_clip names) there or named by `weights`. Raises CheckpointError for anything else."""
        folder = check_folder("hpsv2", folder, "config.json")
        path = Path(weights) if weights is not None else _hps_file(folder)
        if path is None:
            return super().from_pretrained(folder, device, **options)
        return cls(_with_weights(folder, path, device))


def _hps_file(folder: Path) -> Path | None:
    """The newest HPS_v2* file; a pickle too, because the error of reading it names the command that converts it."""
    paths = sorted(p for p in folder.glob("HPS_v2*") if p.suffix in (".safetensors", ".pt"))
    safe = [p for p in paths if p.suffix == ".safetensors"]
    return (safe or paths or [None])[-1]


def _with_weights(folder: Path, path: Path, device: str | torch.device) -> Clip:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPConfig, CLIPModel

    weights = to_transformers(read_weights("hpsv2", path))
    try:
        model = CLIPModel(CLIPConfig.from_pretrained(folder, local_files_only=True))
        model.load_state_dict(weights)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        images = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"hpsv2={str(path)!r} does not fit {str(folder)!r}: {error}") from error
    return Clip(model, tokenizer, images, device)
