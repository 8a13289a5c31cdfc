"""The joint embedding: images and titles in one space, covers and users in another. Knows nothing about generation.

Images are read through the VLM's own vision tower (shared, not stored twice). Two heads read its pooled features: the
joint projection (cosine with titles = relevance) and the preference head (cosine with a user embedding = preference).
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


@dataclass(frozen=True)
class JointConfig:
    """Widths of the text tower and the heads; `vision` is the vision tower's width."""

    vocab: int
    vision: int = 160
    text: int = 128
    text_layers: int = 2
    hidden: int = 256
    length: int = 24


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


def pool(vision: nn.Module, pixels: Tensor) -> Tensor:
    """pixels (B, 3, S, S) in [-1, 1] -> (B, 2 D): the class token beside the mean of the patches."""
    hidden = vision(pixel_values=pixels).last_hidden_state
    return torch.cat([hidden[:, 0], hidden[:, 1:].mean(1)], -1)


class JointEmbedding:
    """What the services call: lists of pictures or titles in, float32 unit rows out."""

    def __init__(self, vision: nn.Module, heads: JointHeads, processor: Any) -> None:
        self.vision, self.heads, self.processor = vision.eval(), heads.eval(), processor

    @classmethod
    def from_pretrained(cls, root: Path, vlm: Any = None, processor: Any = None) -> JointEmbedding:
        """`root` holds vlm/ and joint/. Pass an already loaded VLM and processor to share their weights."""
        root = Path(root)
        if vlm is None or processor is None:
            from icg.vlm import load

            vlm, processor = load(root / "vlm")
        return cls(vlm.model.vision_tower, JointHeads.from_pretrained(root / "joint"), processor)

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
        batch = self.processor.tokenizer(lower, return_tensors="pt", padding=True, truncation=True, max_length=cut)
        return self.heads.titles(batch["input_ids"], batch["attention_mask"]).numpy()

    @torch.inference_mode()
    def _read(self, images: list[Image.Image], head: Any) -> np.ndarray:
        rows = []
        for i in range(0, len(images), 64):
            part = [image.convert("RGB") for image in images[i : i + 64]]
            pixels = self.processor.image_processor(part, return_tensors="pt")["pixel_values"]
            rows.append(head(pool(self.vision, pixels)).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, WIDTH), np.float32)


def _head(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, WIDTH))
