"""The joint embedding: images and titles in one space, covers and users in another. Knows nothing about generation.

Images are read through the diffusion model's own autoencoder (shared, not stored twice): a small convolutional tower on
its latents, which keep texture, colour and layout. Two heads read the tower: the joint projection (cosine with titles =
relevance) and the preference head (cosine with a user embedding = preference).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from icg.errors import CheckpointError

WIDTH = 64
"""Of every embedding here."""
SIDE = 96
"""Pixels a side of what the tower reads."""


@dataclass(frozen=True)
class JointConfig:
    """Widths: `vision` of what the heads read (half of it), `latent` channels the tower reads, 0 for no tower."""

    vocab: int
    vision: int = 160
    text: int = 128
    text_layers: int = 2
    hidden: int = 256
    length: int = 24
    latent: int = 0
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
    """Latents (B, C, h, w) and their coordinates -> (B, 2 * out): the mean beside the maximum of the last features."""

    def __init__(self, channels: int, width: int, out: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.fine = nn.Sequential(Block(width), Block(width))
        self.down = nn.Conv2d(width, out, 2, stride=2)
        self.coarse = Block(out)

    def forward(self, z: Tensor) -> Tensor:
        """z scaled to unit deviation."""
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in z.shape[2:]), indexing="ij")
        place = torch.stack([x, y]).expand(len(z), -1, -1, -1)
        h = self.coarse(self.down(self.fine(self.enter(torch.cat([z, place], 1)))))
        return torch.cat([h.mean((2, 3)), h.amax((2, 3))], -1)


class JointHeads(nn.Module):
    """Text tower, image projection and preference head. Outputs are (B, 64) unit vectors."""

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab, config.text)
        self.places = nn.Parameter(torch.randn(config.length, config.text) * 0.02)
        layer = nn.TransformerEncoderLayer(
            config.text, 4, config.text * 2, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.text = nn.TransformerEncoder(layer, config.text_layers, enable_nested_tensor=False)
        self.text_out = nn.Sequential(nn.LayerNorm(config.text), nn.Linear(config.text, WIDTH))
        self.tower = LatentTower(config.latent, config.tower, config.vision) if config.latent else None
        self.image_out = _head(2 * config.vision, config.hidden)
        self.cover_out = _head(2 * config.vision, config.hidden)
        self.log_scale = nn.Parameter(torch.tensor([2.7, 2.0]))

    def titles(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask (B, L) -> (B, 64)."""
        x = self.words(ids) + self.places[: ids.shape[1]]
        x = self.text(x, src_key_padding_mask=mask == 0)
        pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return F.normalize(self.text_out(pooled), dim=-1)

    def images(self, pooled: Tensor) -> Tensor:
        """pooled (B, 2 D) -> (B, 64), the space shared with titles."""
        return F.normalize(self.image_out(pooled), dim=-1)

    def covers(self, pooled: Tensor) -> Tensor:
        """pooled (B, 2 D) -> (B, 64), the space shared with users."""
        return F.normalize(self.cover_out(pooled), dim=-1)

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2))
        save_file({k: v.to(dtype).contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: Path) -> JointHeads:
        """Read what `save_pretrained` wrote; CheckpointError when missing or of other widths."""
        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise CheckpointError(f"joint={str(folder)!r}: {name} is missing; allowed: save_pretrained's folder")
        heads = cls(JointConfig(**json.loads((folder / "config.json").read_text())))
        try:
            heads.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        except RuntimeError as error:
            raise CheckpointError(f"joint={str(folder)!r}: widths do not match config.json ({error})") from error
        return heads.eval()


class JointEmbedding:
    """What the services call: lists of pictures or titles in, float32 unit rows out."""

    def __init__(self, vae: Any, heads: JointHeads, tokenizer: Any) -> None:
        if heads.tower is None:
            raise CheckpointError("joint latent=0: no tower to read pictures with; allowed: the autoencoder's channels")
        self.vae, self.heads, self.tokenizer = vae.eval(), heads.eval(), tokenizer

    @classmethod
    def from_pretrained(cls, root: str | Path, vae: Any = None, tokenizer: Any = None) -> JointEmbedding:
        """`root` holds joint/, diffusion/vae/ and vlm/ (its tokenizer). Pass loaded parts to share their weights."""
        root = Path(root)
        heads = JointHeads.from_pretrained(root / "joint")
        if vae is None:
            from diffusers import AutoencoderDC

            vae = AutoencoderDC.from_pretrained(root / "diffusion" / "vae", dtype=torch.float32)
        if tokenizer is None:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(root / "vlm")
        return cls(vae, heads, tokenizer)

    def images(self, images: list[Image.Image]) -> np.ndarray:
        """(N, 64), comparable with `texts` by dot product."""
        return self._read(images, self.heads.images)

    def covers(self, images: list[Image.Image]) -> np.ndarray:
        """(N, 64) cover embeddings, comparable with user embeddings by dot product."""
        return self._read(images, self.heads.covers)

    @torch.inference_mode()
    def texts(self, titles: list[str]) -> np.ndarray:
        """(N, 64). Long titles are cut to the tower's length."""
        if not titles:
            return np.zeros((0, WIDTH), np.float32)
        cut = self.heads.config.length
        lower = [t.lower() for t in titles]
        batch = self.tokenizer(lower, return_tensors="pt", padding=True, truncation=True, max_length=cut)
        return self.heads.titles(batch["input_ids"], batch["attention_mask"]).numpy()

    @torch.inference_mode()
    def features(self, images: list[Image.Image]) -> Tensor:
        """(N, 2 D) tower features, before the heads. Pictures are resized to the side the tower was trained at."""
        rows = [self._tower(images[i : i + 64]) for i in range(0, len(images), 64)]
        return torch.cat(rows) if rows else torch.zeros(0, 2 * self.heads.config.vision)

    def _tower(self, images: list[Image.Image]) -> Tensor:
        small = [image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS) for image in images]
        pixels = torch.from_numpy(np.stack([np.asarray(s) for s in small])).permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.heads.tower(self.vae.encode(pixels).latent * self.vae.config.scaling_factor)

    @torch.inference_mode()
    def _read(self, images: list[Image.Image], head: Any) -> np.ndarray:
        return head(self.features(images)).numpy()


def _head(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, WIDTH))
