"""The judge of product pictures: cues, RFNet, and the threshold that was chosen for it. Pictures in, judgements out.

What it says of a picture it says of that picture's product and caption: is this thing, so described, shown as it is?
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from icg.brief import Brief, check_product
from icg.checkpoints import read_json
from icg.errors import CheckpointError, IcgError
from icg.reliability.config import CAPTION, DEPTH, PRODUCT, SALIENCY
from icg.reliability.cues import SmallCues
from icg.reliability.labels import Availability
from icg.reliability.rfnet import Cues, RFNet
from icg.reliability.scenes.staging import cropped, framed
from icg.rewards.base import BATCH, pixels, resized

GROUND = 127
"""Grey behind a cut-out."""


@dataclass(frozen=True)
class Judgement:
    """probabilities: of each class by its name in lower case, adding up to 1. available: whether that of "available" is at or above
    the threshold."""

    probabilities: dict[str, float]
    available: bool

    @property
    def score(self) -> float:
        """The probability of being available, 0..1."""
        return self.probabilities["available"]


class Judge(nn.Module):
    """`cues`: pixels (B, 3, H, W) -> depth and saliency, as icg.reliability.cues has them. temperature: what logits are divided by.

    IcgError for a coarse RFNet, which names no class, and for thresholds outside 0..1.
    """

    def __init__(self, rfnet: RFNet, cues: nn.Module, threshold: float = 0.5, temperature: float = 1.0) -> None:
        super().__init__()
        if rfnet.config.coarse:
            raise IcgError("rfnet coarse=True; allowed: a network of all classes")
        if not 0 <= threshold <= 1 or not 0 < temperature < math.inf:
            raise IcgError(f"threshold={threshold}, temperature={temperature}; allowed: 0..1, finite and above 0")
        self.rfnet, self.cues = rfnet, cues
        self.threshold, self.temperature = float(threshold), float(temperature)
        self.names = [Availability(n).name.lower() for n in range(rfnet.config.outputs)]

    def tensor(self, images: Tensor, products: Tensor, captions: Sequence[str]) -> Tensor:
        """images (B, 3, H, W) and products (B, 3, side, side), as `product_pixels` makes them, both in [-1, 1] -> logits (B, classes)
        at the judge's temperature, differentiable in `images`."""
        config = self.rfnet.config
        small = resized(images, config.side)
        depth, saliency = self.cues(small) if {DEPTH, SALIENCY} & set(config.cues) else (None, None)
        ids, mask = self.rfnet.tokens(captions) if CAPTION in config.cues else (None, None)
        if ids is not None and mask is not None:
            ids, mask = ids.to(images.device), mask.to(images.device)
        seen = Cues(products if PRODUCT in config.cues else None, small, depth, saliency, ids, mask)
        found: Tensor = self.rfnet(seen) / self.temperature
        return found

    @torch.inference_mode()
    def __call__(  # type: ignore[override]  # pictures, not tensors
        self, images: Sequence[Image.Image], products: Sequence[Image.Image], captions: Sequence[str]
    ) -> list[Judgement]:
        """As many of each. BriefError for a product that is no cut-out."""
        if not len(images) == len(products) == len(captions):
            raise IcgError(
                f"images={len(images)}, products={len(products)}, captions={len(captions)}; allowed: as many of each"
            )
        device, side = next(self.rfnet.parameters()).device, self.rfnet.config.side
        found = []
        for i in range(0, len(images), BATCH):
            cut = torch.stack([product_pixels(product, side) for product in products[i : i + BATCH]])
            logits = self.tensor(
                pixels(images[i : i + BATCH], side).to(device), cut.to(device), captions[i : i + BATCH]
            )
            found += logits.softmax(-1).cpu().tolist()
        return [Judgement(dict(zip(self.names, row, strict=True)), row[0] >= self.threshold) for row in found]

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write rfnet/, cues/ and judge.json. The cues must be small ones."""
        folder = Path(folder)
        self.rfnet.save_pretrained(folder / "rfnet", dtype)
        self.cues.save_pretrained(folder / "cues", dtype)
        stated = {"threshold": self.threshold, "temperature": self.temperature}
        (folder / "judge.json").write_text(json.dumps(stated, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path, cues: nn.Module | None = None) -> Judge:
        """What `save_pretrained` wrote, or with other `cues`. CheckpointError when something is missing or out of range."""
        folder = Path(folder)
        stated = read_json("judge", folder / "judge.json")
        try:
            made = cls(
                RFNet.from_pretrained(folder / "rfnet"),
                cues or SmallCues.from_pretrained(folder / "cues"),
                float(stated["threshold"]),  # type: ignore[arg-type]
                float(stated["temperature"]),  # type: ignore[arg-type]
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"judge={str(folder)!r}: judge.json is not usable ({error})") from error
        return made.eval().requires_grad_(False)


def judgements(judge: Judge | None, images: Sequence[Image.Image], briefs: Sequence[Brief]) -> list[Judgement | None]:
    """Of covers for these briefs, None where the judge has nothing to say: it knows scenes painted around a product, not posters."""
    found: list[Judgement | None] = [None] * len(briefs)
    rows = [(n, brief.product) for n, brief in enumerate(briefs) if brief.inpaint and brief.product is not None]
    if judge is not None and rows:
        told = judge([images[n] for n, _ in rows], [cut for _, cut in rows], [briefs[n].title for n, _ in rows])
        for (n, _), one in zip(rows, told, strict=True):
            found[n] = one
    return found


def product_pixels(product: Image.Image, side: int) -> Tensor:
    """RGBA of any size -> (3, side, side) in [-1, 1]: cropped to what is there, as large as fits, on grey.

    Several things in one cut-out are one product. BriefError for what is no cut-out: opaque, empty or without alpha.
    """
    check_product(product)
    alone = framed(cropped(np.asarray(product)), side)
    ground = Image.new("RGB", alone.size, (GROUND,) * 3)
    ground.paste(alone, (0, 0), alone)
    return pixels([ground], side)[0]
