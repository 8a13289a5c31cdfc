"""The judge of product pictures: cues, RFNet, and its threshold. Pictures in, judgements out.

A judgement is about a picture together with its product and caption: does the picture show this product, so described, correctly?
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
"""Grey value behind a cut-out."""


@dataclass(frozen=True)
class Judgement:
    """probabilities: of each class by its name in lower case, summing to 1. available: whether the probability of "available" is at
    or above the threshold."""

    probabilities: dict[str, float]
    available: bool

    @property
    def score(self) -> float:
        """The probability of being available, 0..1."""
        return self.probabilities["available"]


class Judge(nn.Module):
    """cues: pixels (B, 3, H, W) -> depth and saliency, see icg.reliability.cues. temperature: divisor of the logits.

    Raises IcgError for a coarse RFNet, which names no class, and for a threshold or temperature out of range.
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
        """images (B, 3, H, W), products (B, 3, side, side) of `product_pixels`, both in [-1, 1] -> logits (B, classes) at the judge's
        temperature, differentiable in `images`."""
        config = self.rfnet.config
        small = resized(images, config.side)
        depth, saliency = self.cues(small) if {DEPTH, SALIENCY} & set(config.cues) else (None, None)
        ids, mask = self.rfnet.tokens(captions) if CAPTION in config.cues else (None, None)
        if ids is not None and mask is not None:
            ids, mask = ids.to(images.device), mask.to(images.device)
        inputs = Cues(products if PRODUCT in config.cues else None, small, depth, saliency, ids, mask)
        logits: Tensor = self.rfnet(inputs) / self.temperature
        return logits

    @torch.inference_mode()
    def __call__(  # type: ignore[override]  # pictures, not tensors
        self, images: Sequence[Image.Image], products: Sequence[Image.Image], captions: Sequence[str]
    ) -> list[Judgement]:
        """One judgement a picture. IcgError for lists of different lengths, BriefError for a product that is not a cut-out."""
        if not len(images) == len(products) == len(captions):
            raise IcgError(
                f"images={len(images)}, products={len(products)}, captions={len(captions)}; allowed: as many of each"
            )
        device, side = next(self.rfnet.parameters()).device, self.rfnet.config.side
        rows = []
        for i in range(0, len(images), BATCH):
            cut = torch.stack([product_pixels(product, side) for product in products[i : i + BATCH]])
            logits = self.tensor(
                pixels(images[i : i + BATCH], side).to(device), cut.to(device), captions[i : i + BATCH]
            )
            rows += logits.softmax(-1).cpu().tolist()
        return [Judgement(dict(zip(self.names, row, strict=True)), row[0] >= self.threshold) for row in rows]

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write rfnet/, cues/ and judge.json. The cues must be SmallCues."""
        folder = Path(folder)
        self.rfnet.save_pretrained(folder / "rfnet", dtype)
        self.cues.save_pretrained(folder / "cues", dtype)
        settings = {"threshold": self.threshold, "temperature": self.temperature}
        (folder / "judge.json").write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path, cues: nn.Module | None = None) -> Judge:
        """Read a folder of `save_pretrained`, with other `cues` if given. CheckpointError if something is missing or out of range."""
        folder = Path(folder)
        settings = read_json("judge", folder / "judge.json")
        try:
            judge = cls(
                RFNet.from_pretrained(folder / "rfnet"),
                cues or SmallCues.from_pretrained(folder / "cues"),
                float(settings["threshold"]),  # type: ignore[arg-type]
                float(settings["temperature"]),  # type: ignore[arg-type]
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"judge={str(folder)!r}: judge.json is not usable ({error})") from error
        return judge.eval().requires_grad_(False)


def judgements(judge: Judge | None, images: Sequence[Image.Image], briefs: Sequence[Brief]) -> list[Judgement | None]:
    """Judgements of covers for these briefs; None for a brief without an inpainted scene, which the judge was not trained on."""
    results: list[Judgement | None] = [None] * len(briefs)
    rows = [(n, brief.product) for n, brief in enumerate(briefs) if brief.inpaint and brief.product is not None]
    if judge is not None and rows:
        judged = judge([images[n] for n, _ in rows], [cut for _, cut in rows], [briefs[n].title for n, _ in rows])
        for (n, _), judgement in zip(rows, judged, strict=True):
            results[n] = judgement
    return results


def product_pixels(product: Image.Image, side: int) -> Tensor:
    """RGBA of any size -> (3, side, side) in [-1, 1]: the cut-out cropped, scaled to fit, on grey.

    Several objects in one cut-out are one product. BriefError for a picture that is opaque, empty or without alpha.
    """
    check_product(product)
    alone = framed(cropped(np.asarray(product)), side)
    ground = Image.new("RGB", alone.size, (GROUND,) * 3)
    ground.paste(alone, (0, 0), alone)
    return pixels([ground], side)[0]
