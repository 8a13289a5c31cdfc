"""The joint embedding: images and titles in one space, covers and users in another. Knows nothing about generation.

The dual encoder compares titles with images: cosine = relevance. The cosine of a cover embedding and a user embedding = preference.
Cover embeddings come from a fitted space (icg.models.space), or, as in the shipped starter, from latents of the diffusion model's own
autoencoder (shared, not stored twice) by a small convolutional tower: latents keep texture, colour and layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from icg.checkpoints import SHIPPED, load_module, save_module, space_folder
from icg.errors import CheckpointError
from icg.models import dual
from icg.models.dual import WIDTH, DualEncoder
from icg.models.space import FittedSpace

SIDE = 96
"""Edge in pixels of the tower's input images."""


@dataclass(frozen=True)
class CoverConfig:
    """`latent`: channels of the tower's input. `vision`: half the width of the head's input."""

    latent: int
    vision: int = 160
    hidden: int = 128
    tower: int = 96


class Block(nn.Module):
    """A ConvNeXt block (arXiv:2201.03545): depthwise 5x5, then a pointwise MLP, added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.mlp = nn.Sequential(nn.Conv2d(width, 3 * width, 1), nn.GELU(), nn.Conv2d(3 * width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same."""
        return x + self.mlp(self.norm(self.near(x)))


class LatentTower(nn.Module):
    """Latents (B, C, h, w) and their coordinates -> (B, 2 * out): mean and maximum over positions of the last features."""

    def __init__(self, channels: int, width: int, out: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.fine = nn.Sequential(Block(width), Block(width))
        self.down = nn.Conv2d(width, out, 2, stride=2)
        self.coarse = Block(out)

    def forward(self, z: Tensor) -> Tensor:
        """z: latents scaled to unit deviation."""
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, device=z.device) for n in z.shape[2:]), indexing="ij")
        coordinates = torch.stack([x, y]).expand(len(z), -1, -1, -1)
        h = self.coarse(self.down(self.fine(self.enter(torch.cat([z, coordinates], 1)))))
        return torch.cat([h.mean((2, 3)), h.amax((2, 3))], -1)


class CoverHead(nn.Module):
    """Latents -> cover embeddings: (B, 64) unit vectors."""

    def __init__(self, config: CoverConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = LatentTower(config.latent, config.tower, config.vision)
        self.cover_out = head(2 * config.vision, config.hidden)

    def covers(self, features: Tensor) -> Tensor:
        """The tower's features (B, 2 vision) -> (B, 64) unit rows in the space shared with users."""
        return F.normalize(self.cover_out(features), dim=-1)

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config.json and model.safetensors."""
        save_module(folder, asdict(self.config), self, dtype)

    @classmethod
    def from_pretrained(cls, folder: Path) -> CoverHead:
        """Read a folder of `save_pretrained`. Raises CheckpointError if a file is missing or widths do not match."""
        return load_module("joint", Path(folder), lambda config: cls(CoverConfig(**config)))


class LatentSpace(nn.Module):
    """Pictures -> cover embeddings, through an autoencoder with deterministic latents (AutoencoderDC). Differentiable in the pixels."""

    side = SIDE

    def __init__(self, vae: Any, head: CoverHead) -> None:
        super().__init__()
        self.vae, self.head = vae, head

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, 96, 96) in [-1, 1] -> (B, 2 vision): the tower's features, before the head."""
        return self.head.tower(self.vae.encode(pixels).latent * self.vae.config.scaling_factor)

    def covers(self, features: Tensor) -> Tensor:
        """(B, 2 vision) -> (B, 64) unit rows in the space shared with users."""
        return self.head.covers(features)

    @classmethod
    def from_pretrained(cls, root: Path, vae: Any = None) -> LatentSpace:
        """root: a folder with joint/ and diffusion/vae/. vae: a loaded autoencoder whose weights are to be shared."""
        head = CoverHead.from_pretrained(root / "joint")
        if vae is None:
            from diffusers import AutoencoderDC

            vae = AutoencoderDC.from_pretrained(root / "diffusion" / "vae", dtype=torch.float32)
        return cls(vae, head)


CoverSpace = LatentSpace | FittedSpace


class JointEmbedding:
    """The services' interface: lists of images or titles in, float32 unit rows out."""

    def __init__(self, space: CoverSpace, titles: DualEncoder) -> None:
        self.space, self.dual = space.eval(), titles.eval()

    @classmethod
    def from_pretrained(cls, root: str | Path, vae: Any = None, space: Path | None = None) -> JointEmbedding:
        """The one place where the space of a checkpoint is chosen: `space`, a folder of `icg space fit`, else `space_folder`.

        root: a checkpoint folder; without dual/ titles are read by the shipped dual encoder. vae: a loaded autoencoder whose weights
        are to be shared; only a checkpoint with joint/ has a use for it. Raises CheckpointError if a part is missing or does not match.
        """
        root = Path(root)
        if not root.is_dir():
            raise CheckpointError(
                f"checkpoint={str(root)!r}: no such folder; allowed: a checkpoint folder on this machine"
            )
        titles = DualEncoder.from_pretrained(root / "dual" if (root / "dual").is_dir() else SHIPPED / "dual")
        folder = space_folder(root, space)
        if folder is None:
            return cls(LatentSpace.from_pretrained(root, vae), titles)
        return cls(FittedSpace.from_pretrained(folder, SHIPPED / "dual"), titles)

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


def head(width: int, hidden: int) -> nn.Sequential:
    """Features (B, width) -> (B, 64)."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, WIDTH))


def pixels(images: Sequence[Image.Image], side: int) -> Tensor:
    """Pictures of any size and mode -> (B, 3, side, side) in [-1, 1]; alpha is dropped."""
    small = [np.asarray(i.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)) for i in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1
