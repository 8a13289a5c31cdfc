"""Recipe 4: a LLaVA-style VLM on the joint recipe's vision tower, trained to caption covers. The tower stays frozen.

LLaVA (arXiv:2304.08485) with a 3-layer Llama. Captions name the subject and the look ("panda, ink style, ocean dots, medium"), so the
hidden states that meta tokens read contain both. Knows nothing about users or generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPImageProcessorPil, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

from icg.data.art import STYLES, Subject
from icg.data.bank import Bank, look_of
from icg.train.loop import Fit, train
from icg.train.starter.autoencoder import to_tensor
from icg.train.starter.joint import Joint
from icg.train.starter.tokenizer import IMAGE_TOKEN, variation


@dataclass(frozen=True)
class LanguageConfig:
    """Widths of the language model."""

    width: int = 192
    layers: int = 3
    heads: int = 4
    mlp: int = 512


def build(joint: Joint, tokenizer: Any, config: LanguageConfig = LanguageConfig()) -> LlavaForConditionalGeneration:
    """A new LLaVA whose vision tower is the joint recipe's (a copy of its weights)."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=config.mlp,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=joint.vision.config,
            text_config=text,
            image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            image_seq_length=(joint.vision.config.image_size // joint.vision.config.patch_size) ** 2,
            tie_word_embeddings=True,
        )
    )
    model.model.vision_tower.load_state_dict(joint.vision.state_dict())
    model.model.vision_tower.requires_grad_(False)
    return model


def processor_of(model: LlavaForConditionalGeneration, tokenizer: Any) -> LlavaProcessor:
    """The matching processor: PIL resize to the tower's side, pixels to [-1, 1]."""
    vision = model.config.vision_config
    side = {"height": vision.image_size, "width": vision.image_size}
    pictures = CLIPImageProcessorPil(
        size=side, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=3
    )
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=1,
    )


@torch.no_grad()
def features(model: LlavaForConditionalGeneration, images: np.ndarray, batch: int = 128) -> Tensor:
    """(N, S, S, 3) uint8 -> (N, P, D) float16 patch features of the frozen tower, before the projector."""
    tower = model.model.vision_tower.eval()
    parts = [
        tower(pixel_values=to_tensor(images[i : i + batch])).last_hidden_state for i in range(0, len(images), batch)
    ]
    return torch.cat([p[:, 1:].half() for p in parts])


def caption(title: str, look: np.ndarray) -> str:
    """The caption that the model is trained to write for a cover."""
    k = look_of(look)
    return f"{title}, {k.style} style, {k.palette} {k.backdrop}, {k.framing}"


def run(
    folder: Path,
    model: LlavaForConditionalGeneration,
    subjects: list[Subject],
    bank: Bank,
    references: np.ndarray,
    tokenizer: Any,
    fit: Fit,
    config: LanguageConfig,
    until: int | None = None,
) -> None:
    """Train projector and language model on captions of covers (60 %), references (25 %) and bare titles (15 %)."""
    subject = np.unique(bank.subject)
    covers = features(model, bank.images)
    white = features(model, references[subject].reshape(-1, *references.shape[2:]))
    styles = references.shape[1]

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        rows = rng.integers(0, len(bank), round(fit.batch * 0.6))
        white_rows = rng.integers(0, len(white), round(fit.batch * 0.25))
        bare = rng.choice(subject, fit.batch - len(rows) - len(white_rows))
        captions = [caption(subjects[bank.subject[r]].title, bank.look[r]) for r in rows]
        captions += [
            f"{subjects[subject[d // styles]].title}, {STYLES[d % styles]} style, on white" for d in white_rows
        ]
        titles = [variation(subjects[b].title, int(rng.integers(0, 10))) for b in bare]
        pictures = torch.cat([covers[rows], white[white_rows]]).float()
        caption_loss = _loss(model, tokenizer, captions, pictures)
        title_loss = _loss(model, tokenizer, titles, None)
        return {"loss": caption_loss + 0.2 * title_loss, "caption": caption_loss, "title": title_loss}

    train(folder, model, fit, step, config, until)
    model.eval()


def _loss(model: Any, tokenizer: Any, texts: list[str], pictures: Tensor | None) -> Tensor:
    """Next-token loss of `<s> [patches] text </s>`; pictures (B, P, D) or None."""
    batch = tokenizer([t + "</s>" for t in texts], return_tensors="pt", padding=True)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    if pictures is None:
        labels = ids.masked_fill(mask == 0, -100)
        return model(input_ids=ids, attention_mask=mask, labels=labels).loss
    words = model.get_input_embeddings()(ids)
    patches = model.model.multi_modal_projector(pictures)
    embeds = torch.cat([words[:, :1], patches, words[:, 1:]], 1)
    full = torch.cat([mask[:, :1], mask.new_ones(patches.shape[:2]), mask[:, 1:]], 1)
    labels = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    hidden = model.model.language_model(inputs_embeds=embeds, attention_mask=full).last_hidden_state
    logits = model.lm_head(hidden[:, patches.shape[1] : -1])
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
