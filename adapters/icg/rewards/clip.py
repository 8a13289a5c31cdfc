"""CLIP and SigLIP from a folder: embeddings of pictures and texts as unit rows; their cosine is the relevance.

Any transformers `CLIPModel` or `SiglipModel` folder with its tokenizer and image processor. Knows no users.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.checkpoints import check_device
from icg.errors import CheckpointError
from icg.rewards.base import PixelReward
from icg.rewards.folders import check_folder, frozen
from icg.rewards.processing import Processing


class Clip:
    """A frozen two-tower model on a device. All outputs are (B, D) unit rows."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any, device: str | torch.device = "cpu") -> None:
        self.device = check_device(device)
        self.model, self.tokenizer = frozen(model).to(self.device), tokenizer
        self.processing = Processing(processor)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", processor: str | Path | None = None
    ) -> Clip:
        """`processor`: another folder with tokenizer and image processor, for a checkpoint without them."""
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        folder = check_folder("clip", folder, "config.json")
        other = folder if processor is None else check_folder("processor", processor, "preprocessor_config.json")
        try:
            model = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
            if not hasattr(model, "get_text_features"):
                raise CheckpointError(f"clip={str(folder)!r}: a {type(model).__name__}; allowed: CLIP or SigLIP")
            tokenizer = AutoTokenizer.from_pretrained(other, local_files_only=True)
            images = AutoImageProcessor.from_pretrained(other, local_files_only=True, backend="pil")
        except OSError as error:
            raise CheckpointError(f"clip={str(folder)!r}: {error}") from error
        return cls(model, tokenizer, images, device)

    def pictures(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any sizes and modes."""
        return self._image_features(self.processing.pictures(images))

    def pixels(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], differentiable."""
        return self._image_features(self.processing.pixels(images.to(self.device)))

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Texts, padded and cut to the model's length. SigLIP was trained on lower case padded to the full length."""
        length = self.model.config.text_config.max_position_embeddings
        sigmoid = self.model.config.model_type.startswith("siglip")
        words = [t.lower() for t in texts] if sigmoid else list(texts)
        batch = self.tokenizer(words, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids = batch["input_ids"].to(self.device)
        mask = None if sigmoid else batch["attention_mask"].to(self.device)
        features = self.model.get_text_features(input_ids=ids, attention_mask=mask)
        return F.normalize(features.pooler_output, dim=-1)

    def _image_features(self, pixel_values: Tensor) -> Tensor:
        features = self.model.get_image_features(pixel_values=pixel_values.to(self.device))
        return F.normalize(features.pooler_output, dim=-1)


class ClipRelevance(PixelReward):
    """Cosine of cover and title in a CLIP or SigLIP space, in -1..1. Even matching titles rarely exceed 0.4."""

    name = "relevance"
    range = (-1.0, 1.0)
    scale = 1.0

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._pictures, self._pixels = clip.pictures, clip.pixels

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu", **options: Any) -> Self:
        """Raises CheckpointError if the folder does not hold such a model. options: see `Clip.from_pretrained`."""
        return cls(Clip.from_pretrained(folder, device, **options))

    def _rate(self, rows: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return self.scale * (rows * self.clip.texts([b.title for b in briefs])).sum(1)
