"""The joint embedding: images and titles in one space, covers and users in another. Knows nothing about generation.

The dual encoder compares titles with images: cosine = relevance. The cosine of a cover embedding and a user embedding = preference.
Cover embeddings come from a fitted space (icg.models.space).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.checkpoints import SHIPPED, space_folder
from icg.errors import CheckpointError
from icg.models import dual
from icg.models.dual import WIDTH, DualEncoder
from icg.models.picture_encoder import TrunkPictures
from icg.models.space import FittedSpace
from icg.models.trunk import shared
from icg.pictures import squared


class JointEmbedding:
    """The services' interface: lists of images or titles in, float32 unit rows out."""

    def __init__(self, space: FittedSpace, titles: DualEncoder) -> None:
        self.space, self.dual = space.eval(), titles.eval()

    @classmethod
    def from_pretrained(cls, root: str | Path, space: Path | None = None) -> JointEmbedding:
        """The one place where the space of a checkpoint is chosen: `space`, a folder of `icg space fit`, else `space_folder`.

        root: a checkpoint folder; without dual/ titles are read by the shipped dual encoder. Raises CheckpointError if a part is missing
        or does not match.
        """
        root = Path(root)
        if not root.is_dir():
            raise CheckpointError(
                f"checkpoint={str(root)!r}: no such folder; allowed: a checkpoint folder on this machine"
            )
        titles = DualEncoder.from_pretrained(root / "dual" if (root / "dual").is_dir() else SHIPPED / "dual")
        fitted = FittedSpace.from_pretrained(space_folder(root, space), SHIPPED / "dual")
        if isinstance(fitted.encoder, TrunkPictures):
            fitted.encoder.trunk = shared(fitted.encoder.trunk, titles.trunk)
        return cls(fitted, titles)

    @torch.inference_mode()
    def images(self, images: list[Image.Image]) -> np.ndarray:
        """(N, 64); its dot product with `texts` is the relevance."""
        rows = [self.dual.images(pixels(images[i : i + 64], dual.SIDE)) for i in range(0, len(images), 64)]
        return torch.cat(rows).numpy() if rows else np.zeros((0, WIDTH), np.float32)

    @torch.inference_mode()
    def covers(self, images: list[Image.Image]) -> np.ndarray:
        """(N, 64) cover embeddings; the dot product with a user embedding is the preference."""
        if not images:
            return np.zeros((0, WIDTH), np.float32)
        return self.space.covers(self.features(images)).numpy()

    @torch.inference_mode()
    def texts(self, titles: list[str]) -> np.ndarray:
        """(N, 64); zeros for a title without a word of the table."""
        return self.dual.titles(titles).numpy()

    @torch.inference_mode()
    def features(self, images: list[Image.Image]) -> Tensor:
        """(N, F) features of at least one picture, before the projection to cover embeddings."""
        side = self.space.side
        return torch.cat([self.space.features(pixels(images[i : i + 64], side)) for i in range(0, len(images), 64)])


def pixels(images: Sequence[Image.Image], side: int) -> Tensor:
    """Pictures of any size and mode -> (B, 3, side, side) in [-1, 1]; alpha is dropped."""
    small = [np.asarray(squared(i, side)) for i in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1
