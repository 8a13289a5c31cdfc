"""The small aesthetic: how well made a cover is, by a head on picture statistics. Knows nothing about titles or users.

`icg.train.aesthetic.recipe` trained it to rank composed covers above damaged copies of themselves, without any person's judgement: it
detects blur, noise, bad exposure and the like, not beauty.
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
    """(B, F) statistics -> (B,) logits. Buffers standardise its input and output."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("deviation", torch.ones(len(NAMES)))
        self.register_buffer("scale", torch.tensor([0.0, 1.0]))
        self.layers = nn.Sequential(nn.Linear(len(NAMES), hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, measured: Tensor) -> Tensor:
        """Statistics saturate at ±4 deviations: a reward must not grow with inputs unlike its training data."""
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
        """Read a folder of `save_pretrained`. CheckpointError if a file is missing, or widths or statistics differ."""
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
    """How well made a cover is, in 0..1; 0.5 is the average of its training pictures, damaged ones included."""

    name = "aesthetic"
    range = (0.0, 1.0)

    def __init__(self, head: AestheticHead, device: str | torch.device = "cpu") -> None:
        self.device = check_device(device)
        self.head = head.to(self.device).eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> SmallAesthetic:
        """Read config.json and model.safetensors. Raises CheckpointError if a file is missing or does not match."""
        return cls(AestheticHead.from_pretrained(folder), device)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32. Of the briefs only their number is checked."""
        return collect(lambda i, _: self._rate(pixels(i, SIDE)), images, briefs, self.range)

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        """images (B, 3, H, W) in [-1, 1] -> (B,)."""
        check_tensor(images, briefs)
        return self._rate(images)

    def _rate(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.head(statistics(resized(images.to(self.device), SIDE))))
