"""Pictures with their texts as numbers: by a frozen VLM and the joint embedding, differentiable in the pictures. Knows no KPI."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg.errors import CheckpointError

SIDE = 96
"""Pixels a side at which pictures reach the reader."""
PROMPTS = 4096
"""Texts whose prompts are kept."""


class Reader:
    """Pictures with their texts -> content (B, D): the VLM's last hidden state behind both, and the cover embedding."""

    def __init__(self, vlm: Any, processor: Any, embedding: Any, device: str | torch.device = "cpu") -> None:
        from icg.rewards.joint import JointJudge

        self._vlm, self._processor, self.judge = vlm, processor, JointJudge(embedding, device)
        self._frozen: Any = None
        self._asked: dict[str, dict[str, Tensor]] = {}

    @classmethod
    def from_pretrained(cls, root: str | Path, device: str | torch.device = "cpu") -> Reader:
        """`root` is a starter-shaped folder with vlm/, joint/, dual/ and diffusion/vae/."""
        from icg.models import vlm
        from icg.models.joint import JointEmbedding

        return cls(*vlm.load(Path(root) / "vlm"), JointEmbedding.from_pretrained(root), device)

    @property
    def width(self) -> int:
        """D."""
        from icg.models.dual import WIDTH

        return int(self._vlm.config.get_text_config().hidden_size) + WIDTH

    def __call__(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """images (B, 3, SIDE, SIDE) in [-1, 1], differentiable where gradients are on."""
        vlm, pictures = self._reading(), self._normalised(images)
        asked = [self._inputs(text) for text in texts]
        equal: dict[int, list[int]] = {}  # texts of one length are read in one call, without padding
        for n, one in enumerate(asked):
            equal.setdefault(one["input_ids"].shape[1], []).append(n)
        rows = []
        for some in equal.values():
            given = {name: torch.cat([asked[n][name] for n in some]).to(self.judge.device) for name in asked[some[0]]}
            found = vlm.model(**given | {"pixel_values": pictures[some]}, use_cache=False)
            rows.append(found.last_hidden_state[:, -1])
        back = torch.tensor([n for some in equal.values() for n in some]).argsort()
        return torch.cat([torch.cat(rows)[back], self.judge.covers(images)], 1)

    def _inputs(self, text: str) -> dict[str, Tensor]:
        """The prompt of a picture and a text, whatever the picture. Kept for the latest texts."""
        from icg.models import vlm

        if text not in self._asked:
            if len(self._asked) > PROMPTS:
                self._asked.clear()
            found = vlm.inputs(self._processor, text[:512], (Image.new("RGB", (SIDE, SIDE)),))
            values = found.pop("pixel_values", None)
            if values is None or values.ndim != 4 or len(values) != 1:
                shape = None if values is None else tuple(values.shape)
                raise CheckpointError(f"vlm reads pictures as {shape}; allowed: one (1, 3, H, W), as LLaVA does")
            self._shape = values.shape[2:]
            self._asked[text] = found
        return self._asked[text]

    def _normalised(self, images: Tensor) -> Tensor:
        """As the VLM's processor does it, but differentiable."""
        self._inputs(" ")
        how = self._processor.image_processor
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (how.image_mean, how.image_std))
        sized = F.interpolate(images.to(self.judge.device), self._shape, mode="bicubic", antialias=True).clamp(-1, 1)
        return (sized / 2 + 0.5 - mean.to(sized)) / deviation.to(sized)

    def _reading(self) -> Any:
        """The VLM itself without gradients on the CPU, else a frozen copy on the device: it may be a pipeline's."""
        if self.judge.device.type == "cpu" and not torch.is_grad_enabled():
            return self._vlm
        if self._frozen is None:
            self._frozen = copy.deepcopy(self._vlm).to(self.judge.device).eval().requires_grad_(False)
        return self._frozen
