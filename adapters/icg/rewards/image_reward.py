"""ImageReward (arXiv:2304.05977): people's preference among generated pictures, by a BLIP that reads picture and title. No users.

The `ImageReward` package imports parts that transformers has removed, so its published weights are loaded into transformers'
own BLIP encoders: converted to safetensors with the same names, in the folder of bert-base-uncased's tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icg.brief import Brief
from icg.checkpoints import check_device
from icg.errors import CheckpointError
from icg.rewards.aesthetic import layers_of
from icg.rewards.base import PixelReward
from icg.rewards.folders import check_folder, frozen, read_weights
from icg.rewards.processing import Processing

MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of the raw output over its authors' pictures: published figures are standardised with them."""
WORDS = 35
"""Tokens of a title, as in training."""
HEAD_WIDTH = 64
"""Width of every attention head in a BLIP."""
FILE = "ImageReward.safetensors"


class ImageReward(PixelReward):
    """Standardised preference, -5..5 here; published pictures get -2.3 to 2; values outside are clipped."""

    name = "imagereward"
    range = (-5.0, 5.0)

    def __init__(
        self, vision: nn.Module, text: nn.Module, head: nn.Module, tokenizer: Any, device: str | torch.device = "cpu"
    ) -> None:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        self.device = check_device(device)
        self.vision, self.text, self.head = (frozen(m).to(self.device) for m in (vision, text, head))
        self.tokenizer, side = tokenizer, self.vision.config.image_size
        size = {"height": side, "width": side}
        processing = Processing(CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size))
        self.processing, self._pictures, self._pixels = processing, processing.pictures, processing.pixels

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", weights: str | Path | None = None
    ) -> ImageReward:
        """folder: a BERT tokenizer, with ImageReward.safetensors unless `weights` names the file.
        Raises CheckpointError if something is missing or widths do not match."""
        from transformers import AutoTokenizer

        folder = check_folder("imagereward", folder)
        pickled = folder / "ImageReward.pt"
        default = pickled if pickled.exists() and not (folder / FILE).exists() else folder / FILE
        vision, text, head = build(read_weights("imagereward", default if weights is None else weights))
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"imagereward={str(folder)!r}: {error}") from error
        return cls(vision, text, head, tokenizer, device)

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        patches = self.vision(pixel_values=images.to(self.device)).last_hidden_state
        words = self.tokenizer(
            [b.title for b in briefs], padding="max_length", truncation=True, max_length=WORDS, return_tensors="pt"
        ).to(self.device)
        hidden = self.text(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            encoder_hidden_states=patches,
            encoder_attention_mask=torch.ones(patches.shape[:2], dtype=torch.long, device=self.device),
        ).last_hidden_state
        return (self.head(hidden[:, 0])[:, 0] - MEAN) / DEVIATION


def build(weights: dict[str, Tensor]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Weights with published names -> (picture encoder, text encoder, head), with the widths and depths of the weights."""
    from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig
    from transformers.models.blip.modeling_blip import BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    image = {_vision_name(k): v for k, v in _within(weights, "blip.visual_encoder.").items()}
    words = {k: v for k, v in _within(weights, "blip.text_encoder.").items() if k != "embeddings.position_ids"}
    head = layers_of(_within(weights, "mlp."))
    try:
        patch = image["embeddings.patch_embedding.weight"]
        side = round((image["embeddings.position_embedding"].shape[1] - 1) ** 0.5) * patch.shape[-1]
        vision_config = BlipVisionConfig(
            hidden_size=len(patch),
            num_hidden_layers=_depth(image),
            num_attention_heads=len(patch) // HEAD_WIDTH,
            intermediate_size=len(image["encoder.layers.0.mlp.fc1.bias"]),
            image_size=side,
            patch_size=patch.shape[-1],
            layer_norm_eps=1e-6,
        )
        vocabulary, width = words["embeddings.word_embeddings.weight"].shape
        text_config = BlipTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            encoder_hidden_size=len(patch),
            num_hidden_layers=_depth(words),
            num_attention_heads=width // HEAD_WIDTH,
            intermediate_size=len(words["encoder.layer.0.intermediate.dense.bias"]),
            max_position_embeddings=len(words["embeddings.position_embeddings.weight"]),
        )
        vision, text = BlipVisionModel(vision_config), BlipTextModel(text_config, add_pooling_layer=False)
        vision.load_state_dict(image)
        text.load_state_dict(words)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"imagereward weights: {error}; allowed: THUDM/ImageReward's names") from error
    return vision, text, head


def _within(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


_NAMES = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm": "post_layernorm",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
}


def _vision_name(name: str) -> str:
    """timm's name of a ViT weight -> transformers' name of a BLIP weight."""
    if name in _NAMES:
        return _NAMES[name]
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    inner, _, part = (block[2] if block else name).rpartition(".")
    renamed = f"{_NAMES.get(inner, inner)}.{part}"
    return f"encoder.layers.{block[1]}.{renamed}" if block else renamed


def _depth(weights: dict[str, Tensor]) -> int:
    return 1 + max(int(m[1]) for k in weights if (m := re.match(r"encoder\.layers?\.(\d+)\.", k)))
