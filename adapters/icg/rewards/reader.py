"""Features of pictures with their texts, by a frozen VLM and the joint embedding, differentiable in the pictures. Knows no KPI."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from icg.rewards.vlm_pixels import VlmPixels, whole

SIDE = 96
"""Edge in pixels of the reader's pictures."""
PROMPTS = 4096
"""Texts whose prompts are cached."""


class Reader:
    """Pictures with their texts -> content (B, D): the VLM's last hidden state after both, and the cover embedding."""

    def __init__(self, vlm: Any, processor: Any, embedding: Any, device: str | torch.device = "cpu") -> None:
        from icg.rewards.joint import JointJudge

        self._vlm, self._processor, self.judge = vlm, whole(processor), JointJudge(embedding, device)
        self._pixels = VlmPixels(self._processor, SIDE)
        self._frozen: Any = None
        self._prompts: dict[str, dict[str, Tensor]] = {}

    @classmethod
    def from_pretrained(cls, root: str | Path, device: str | torch.device = "cpu") -> Reader:
        """root: a folder of the starter's layout with vlm/ and what its cover space needs."""
        from icg.models import vlm
        from icg.models.joint import JointEmbedding

        return cls(*vlm.load(Path(root) / "vlm"), JointEmbedding.from_pretrained(root), device)

    @property
    def width(self) -> int:
        """D, the width of the features."""
        from icg.models.dual import WIDTH

        return int(self._vlm.config.get_text_config().hidden_size) + WIDTH

    def __call__(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """images (B, 3, SIDE, SIDE) in [-1, 1] and B texts -> (B, D), differentiable if gradients are enabled."""
        vlm, images = self._model(), images.to(self.judge.device)
        prompts = [self._inputs(text) for text in texts]
        by_length: dict[int, list[int]] = {}  # texts of one length are read in one call, without padding
        for n, prompt in enumerate(prompts):
            by_length.setdefault(prompt["input_ids"].shape[1], []).append(n)
        rows = []
        for group in by_length.values():
            inputs = {name: torch.cat([prompts[n][name] for n in group]) for name in prompts[group[0]]}
            inputs = {name: value.to(self.judge.device) for name, value in inputs.items()}
            output = vlm.model(**inputs | {"pixel_values": self._pixels(images[group])}, use_cache=False)
            rows.append(output.last_hidden_state[:, -1])
        order = torch.tensor([n for group in by_length.values() for n in group]).argsort()
        return torch.cat([torch.cat(rows)[order], self.judge.covers(images)], 1)

    def _inputs(self, text: str) -> dict[str, Tensor]:
        """The prompt of any picture and this text, cached for the latest texts."""
        from icg.models import vlm

        if text not in self._prompts:
            if len(self._prompts) > PROMPTS:
                self._prompts.clear()
            inputs = vlm.inputs(self._processor, text[:512], (Image.new("RGB", self._pixels.size[::-1]),))
            self._prompts[text] = {name: value for name, value in inputs.items() if name != "pixel_values"}
        return self._prompts[text]

    def _model(self) -> Any:
        """The VLM itself on the CPU without gradients, else a frozen copy on the device: a pipeline may share the VLM."""
        if self.judge.device.type == "cpu" and not torch.is_grad_enabled():
            return self._vlm
        if self._frozen is None:
            self._frozen = copy.deepcopy(self._vlm).to(self.judge.device).eval().requires_grad_(False)
        return self._frozen
