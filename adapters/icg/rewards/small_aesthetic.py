"""The small aesthetic: is the cover well made? A head on picture statistics. Knows nothing about titles or users.

It was trained (`icg.train.aesthetic.recipe`) to put composed covers above damaged copies of themselves and never saw a
person's judgement: it notices blur, noise, bad exposure and the like, not beauty.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from icg.brief import Brief
from icg.checkpoints import check_device
from icg.errors import CheckpointError
from icg.rewards.base import check_tensor, collect, pixels, resized
from icg.rewards.statistics import NAMES, SIDE, statistics


class AestheticHead(nn.Module):
    """(B, F) statistics -> (B,) logits. Buffers standardise what goes in and what comes out."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("deviation", torch.ones(len(NAMES)))
        self.register_buffer("scale", torch.tensor([0.0, 1.0]))
        self.layers = nn.Sequential(nn.Linear(len(NAMES), hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, measured: Tensor) -> Tensor:
        """Far-off statistics are bent towards ±4 deviations: a reward must not grow with what it never saw."""
        z = (measured - self.mean) / self.deviation
        raw = self.layers(4 * torch.tanh(z / 4))[:, 0]
        return (raw - self.scale[0]) / self.scale[1]

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"statistics": NAMES, "hidden": self.hidden}, indent=2) + "\n")
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> AestheticHead:
        """Read what `save_pretrained` wrote; CheckpointError when missing, of other widths or other statistics."""
        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise CheckpointError(
                    f"aesthetic={str(folder)!r}: {name} is missing; allowed: save_pretrained's folder"
                )
        config = json.loads((folder / "config.json").read_text())
        if tuple(config.get("statistics", ())) != NAMES:
            raise CheckpointError(f"aesthetic={str(folder)!r}: of other statistics; allowed: {', '.join(NAMES)}")
        head = cls(int(config["hidden"]))
        try:
            head.load_state_dict(load_file(folder / "model.safetensors"))
        except RuntimeError as error:
            raise CheckpointError(f"aesthetic={str(folder)!r}: widths do not match config.json ({error})") from error
        return head.eval().requires_grad_(False)


class SmallAesthetic:
    """How well made a cover is, in 0..1; 0.5 is the average of what the head was trained on, damaged covers included."""

    name = "aesthetic"
    range = (0.0, 1.0)

    def __init__(self, head: AestheticHead, device: str | torch.device = "cpu") -> None:
        self.device = check_device(device)
        self.head = head.to(self.device).eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> SmallAesthetic:
        """A folder with config.json and model.safetensors; CheckpointError otherwise."""
        return cls(AestheticHead.from_pretrained(folder), device)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32. Briefs are only counted."""
        return collect(lambda i, _: self._rate(pixels(i, SIDE)), images, briefs, self.range)

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        """images (B, 3, H, W) in [-1, 1] -> (B,)."""
        check_tensor(images, briefs)
        return self._rate(images)

    def _rate(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.head(statistics(resized(images.to(self.device), SIDE))))
