"""Real transformers judges so small that they load in milliseconds, saved as ordinary folders."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
import transformers as t
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, processors
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

WORDS = ["<pad>", "<unk>", "<eos>", *string.printable]
SIDE = 32
NARROW: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SQUARE = {"height": SIDE, "width": SIDE}


def tokenizer(folder: Path) -> None:
    """One piece a character."""
    model = Tokenizer(models.BPE({w: i for i, w in enumerate(WORDS)}, [], unk_token="<unk>"))
    model.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 2)])
    fast = t.PreTrainedTokenizerFast(tokenizer_object=model, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    fast.save_pretrained(folder)


def clip(folder: Path, seed: int = 0) -> Any:
    """A CLIP of 12 features, cropping the middle; returns the model."""
    torch.manual_seed(seed)
    ends = {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 16, **ends, **NARROW}
    model = t.CLIPModel(
        t.CLIPConfig(text_config=text, vision_config={"image_size": SIDE, "patch_size": 8, **NARROW}, projection_dim=12)
    )
    return _saved(model, folder, CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SQUARE))


def siglip(folder: Path) -> Any:
    """A SigLIP, squeezing to a square."""
    torch.manual_seed(0)
    ends = {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 16, "projection_size": 16, **ends, **NARROW}
    model = t.SiglipModel(
        t.SiglipConfig(text_config=text, vision_config={"image_size": SIDE, "patch_size": 8, **NARROW})
    )
    return _saved(model, folder, SiglipImageProcessorPil(size=SQUARE))


def classifier(folder: Path, *labels: str, **more: Any) -> Any:
    """A ViT that knows `labels`."""
    torch.manual_seed(0)
    config = t.ViTConfig(image_size=SIDE, patch_size=8, id2label=dict(enumerate(labels)), **NARROW, **more)
    model = t.ViTForImageClassification(config)
    torch.nn.init.normal_(model.classifier.weight)
    return _saved(model, folder, ViTImageProcessorPil(size=SQUARE), words=False)


def laion_head(path: Path, width: int = 12, linear: bool = False) -> dict[str, torch.Tensor]:
    """The public head's names, in small: numbers skip the dropout layers."""
    torch.manual_seed(1)
    sizes = {"": (width, 1)} if linear else {"layers.0.": (width, 8), "layers.2.": (8, 4), "layers.4.": (4, 1)}
    weights = {f"{n}weight": torch.randn(b, a) for n, (a, b) in sizes.items()}
    weights |= {f"{n}bias": torch.full((b,), 5.0 if b == 1 else 0.0) for n, (_, b) in sizes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return weights


def open_clip_names(model: Any) -> dict[str, torch.Tensor]:
    """A transformers CLIP's weights with open_clip's names."""
    mine, out = model.state_dict(), {"logit_scale": model.logit_scale.detach()}
    for tower, theirs, projection in (("vision", "visual.", "visual.proj"), ("text", "", "text_projection")):
        name = "visual_projection" if tower == "vision" else "text_projection"
        out[projection] = mine[f"{name}.weight"].T.contiguous()
        for layer in range(2):
            a, b = f"{tower}_model.encoder.layers.{layer}.", f"{theirs}transformer.resblocks.{layer}."
            for part in ("weight", "bias"):
                third = [mine[f"{a}self_attn.{c}_proj.{part}"] for c in "qkv"]
                out[f"{b}attn.in_proj_{part}"] = torch.cat(third)
                for ours, other in (
                    ("self_attn.out_proj", "attn.out_proj"),
                    ("layer_norm1", "ln_1"),
                    ("layer_norm2", "ln_2"),
                    ("mlp.fc1", "mlp.c_fc"),
                    ("mlp.fc2", "mlp.c_proj"),
                ):
                    out[f"{b}{other}.{part}"] = mine[f"{a}{ours}.{part}"]
    for part in ("weight", "bias"):
        out[f"ln_final.{part}"] = mine[f"text_model.final_layer_norm.{part}"]
        out[f"visual.ln_pre.{part}"] = mine[f"vision_model.pre_layrnorm.{part}"]
        out[f"visual.ln_post.{part}"] = mine[f"vision_model.post_layernorm.{part}"]
    out["token_embedding.weight"] = mine["text_model.embeddings.token_embedding.weight"]
    out["positional_embedding"] = mine["text_model.embeddings.position_embedding.weight"]
    out["visual.class_embedding"] = mine["vision_model.embeddings.class_embedding"]
    out["visual.positional_embedding"] = mine["vision_model.embeddings.position_embedding.weight"]
    out["visual.conv1.weight"] = mine["vision_model.embeddings.patch_embedding.weight"]
    return {k: v.clone() for k, v in out.items()}


def image_reward(folder: Path) -> tuple[Any, Any]:
    """A small ImageReward file with the published names; returns its encoders."""
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "intermediate_size": 48}
    vision = BlipVisionModel(
        t.BlipVisionConfig(
            hidden_size=128, num_attention_heads=2, image_size=SIDE, patch_size=8, layer_norm_eps=1e-6, **sizes
        )
    ).eval()
    ends = {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0, "sep_token_id": 2}
    text = BlipTextModel(
        t.BlipTextConfig(
            vocab_size=len(WORDS),
            hidden_size=64,
            encoder_hidden_size=128,
            num_attention_heads=1,
            max_position_embeddings=40,
            **ends,
            **sizes,
        ),
        add_pooling_layer=False,
    ).eval()
    for weight in (*vision.parameters(), *text.parameters()):
        torch.nn.init.normal_(weight, std=0.2)
    weights = {f"blip.text_encoder.{k}": v for k, v in text.state_dict().items()}
    for name, value in vision.state_dict().items():
        weights[f"blip.visual_encoder.{_timm(name)}"] = value
    head = laion_head(folder / "unused.safetensors", 64)
    weights |= {f"mlp.{k}": v for k, v in head.items()}
    (folder / "unused.safetensors").unlink()
    weights["blip.text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    weights["blip.vision_proj.weight"] = torch.zeros(4, 128)
    save_file({k: v.clone() for k, v in weights.items()}, folder / "ImageReward.safetensors")
    tokenizer(folder)
    return vision, text


def _timm(name: str) -> str:
    for ours, theirs in (
        ("embeddings.class_embedding", "cls_token"),
        ("embeddings.position_embedding", "pos_embed"),
        ("embeddings.patch_embedding", "patch_embed.proj"),
        ("post_layernorm", "norm"),
        ("encoder.layers", "blocks"),
        ("layer_norm", "norm"),
        ("self_attn.projection", "attn.proj"),
        ("self_attn", "attn"),
    ):
        name = name.replace(ours, theirs)
    return name


def _saved(model: Any, folder: Path, processor: Any, words: bool = True) -> Any:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if words:
        tokenizer(folder)
    return model.eval()
