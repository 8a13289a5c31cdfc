"""Every vision-language family on its real classes, saved as its checkpoint folder, so small that reading takes milliseconds.

Tokenizers spell byte by byte; special tokens, chat templates and the layout of the files are the families' own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers as tk
import torch
import transformers as t
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE as SMOLVLM_CHAT

WIDTH = 32
SIDE = 32
"""Pixels of the vision towers' own edge."""
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")
QWEN_CHAT = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{% for content in message['content'] %}{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{%
elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
ONEVISION_CHAT = """{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}{%
for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}{%
for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}{% endfor %}{{
'<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
IDEFICS3_CHAT = SMOLVLM_CHAT.replace("<|im_start|>", "<|begin_of_text|>", 1)
ROWS = [f"<row_{i + 1}_col_{j + 1}>" for i in range(6) for j in range(6)]


@dataclass(frozen=True)
class Parts:
    """A checkpoint before it is saved. `settings` are the processor's own."""

    model: Any
    pictures: Any
    words: Any
    processor: type
    chat: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def tokenizer(*special: str, bos: str, eos: str, add_bos: bool = False) -> Any:
    """Byte by byte. `add_bos`: as Llama 3, which puts it before every text."""
    vocabulary = {byte: i for i, byte in enumerate(sorted(tk.pre_tokenizers.ByteLevel.alphabet()))}
    model = tk.Tokenizer(tk.models.BPE(vocabulary, []))
    model.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tk.decoders.ByteLevel()
    model.add_special_tokens([tk.AddedToken(token, special=True) for token in (*special, bos, eos) if token])
    if add_bos:
        model.post_processor = tk.processors.TemplateProcessing(f"{bos} $A", None, [(bos, model.token_to_id(bos))])
    return t.PreTrainedTokenizerFast(tokenizer_object=model, bos_token=bos, eos_token=eos, pad_token=special[0])


def language(words: Any, **more: Any) -> dict[str, Any]:
    """Two layers of two heads of 16; wide random weights, so that attention is not flat and positions tell."""
    return {
        "vocab_size": len(words) + 8,  # as in full-size checkpoints, more rows than words
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        **more,
    }


def tower(**more: Any) -> dict[str, Any]:
    """A vision transformer's widths."""
    return {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        **more,
    }


def qwen2_5_vl() -> Parts:
    """Positions in three dimensions, as many tokens as the picture's size asks for, windows in its tower."""
    words = tokenizer(*QWEN_SPECIAL, "<|image_pad|>", "<|video_pad|>", bos="<|endoftext|>", eos="<|im_end|>")
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4}
    vision |= {"out_hidden_size": WIDTH, "window_size": 16, "fullatt_block_indexes": [1]}
    text = language(words, rope_parameters={"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 3, 3]})
    ids = {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    ids |= {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    config = t.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    pictures = t.Qwen2VLImageProcessorPil(patch_size=4, min_pixels=8 * 8, max_pixels=40 * 40)
    return Parts(t.Qwen2_5_VLForConditionalGeneration(config), pictures, words, t.Qwen2_5_VLProcessor, QWEN_CHAT)


def qwen3_vl() -> Parts:
    """Interleaved positions, and features of several layers of the tower enter several layers of the language model."""
    words = tokenizer(*QWEN_SPECIAL, "<|image_pad|>", "<|video_pad|>", bos="<|endoftext|>", eos="<|im_end|>")
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4}
    vision |= {"out_hidden_size": WIDTH, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 3, 3], "mrope_interleaved": True}
    text = language(words, head_dim=16, rope_parameters=rope)
    ids = {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    ids |= {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    config = t.Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
    pictures = t.Qwen2VLImageProcessorPil(patch_size=4, min_pixels=8 * 8, max_pixels=40 * 40)
    return Parts(t.Qwen3VLForConditionalGeneration(config), pictures, words, t.Qwen3VLProcessor, QWEN_CHAT)


def llava() -> Parts:
    """One square of patches for every picture; no chat template, as the starter."""
    words = tokenizer("<pad>", "<image>", bos="<s>", eos="</s>", add_bos=True)
    text = t.LlamaConfig(**language(words))
    vision = t.CLIPVisionConfig(**tower())
    config = t.LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-2,
    )
    square = {"height": SIDE, "width": SIDE}
    pictures = t.CLIPImageProcessorPil(size=square, crop_size=square)
    settings = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return Parts(t.LlavaForConditionalGeneration(config), pictures, words, t.LlavaProcessor, None, settings)


def llava_onevision() -> Parts:
    """One picture is cut into crops of its own shape, several are read whole."""
    words = tokenizer("<|endoftext|>", "<|im_start|>", "<image>", "<video>", bos="<|endoftext|>", eos="<|im_end|>")
    grid = [[a * SIDE, b * SIDE] for a in (1, 2) for b in (1, 2)]
    config = t.LlavaOnevisionConfig(
        text_config=t.Qwen2Config(**language(words)),
        vision_config=t.SiglipVisionConfig(**tower(), vision_use_head=False),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        video_token_id=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
    )
    pictures = t.LlavaOnevisionImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=grid)
    settings = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    model = t.LlavaOnevisionForConditionalGeneration(config)
    return Parts(model, pictures, words, t.LlavaOnevisionProcessor, ONEVISION_CHAT, settings)


def smolvlm() -> Parts:
    """Rows and columns of tiles with tokens that name them, then the whole picture."""
    special = (
        "<|endoftext|>",
        "<|im_start|>",
        "<fake_token_around_image>",
        "<image>",
        "<global-img>",
        "<video>",
        *ROWS,
    )
    words = tokenizer(*special, bos="<|im_start|>", eos="<end_of_utterance>")
    config = t.SmolVLMConfig(
        text_config=t.LlamaConfig(**language(words)).to_dict(),
        vision_config=tower(),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    pictures = t.SmolVLMImageProcessorPil(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})
    model = t.SmolVLMForConditionalGeneration(config)
    return Parts(model, pictures, words, t.SmolVLMProcessor, SMOLVLM_CHAT, {"image_seq_len": 4})


def idefics3() -> Parts:
    """As SmolVLM, on Llama 3's tokenizer, which begins every text."""
    special = ("<|pad|>", "<fake_token_around_image>", "<image>", "<global-img>", "<|eot_id|>", *ROWS)
    words = tokenizer(*special, bos="<|begin_of_text|>", eos="<end_of_utterance>", add_bos=True)
    config = t.Idefics3Config(
        text_config=t.LlamaConfig(**language(words, eos_token_id=[words.eos_token_id, 7])).to_dict(),
        vision_config=tower(),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    pictures = t.Idefics3ImageProcessorPil(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})
    model = t.Idefics3ForConditionalGeneration(config)
    return Parts(model, pictures, words, t.Idefics3Processor, IDEFICS3_CHAT, {"image_seq_len": 4})


VLM: dict[str, Callable[[], Parts]] = {
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "llava": llava,
    "llava_onevision": llava_onevision,
    "smolvlm": smolvlm,
    "idefics3": idefics3,
}


def save(name: str, folder: Path) -> Path:
    """A checkpoint folder with seeded random weights, in the layout of the full-size ones of its family."""
    torch.manual_seed(0)
    parts = VLM[name]()
    parts.model.eval().save_pretrained(folder)
    if "video_processor" not in parts.processor.get_attributes():
        parts.processor(parts.pictures, parts.words, chat_template=parts.chat, **parts.settings).save_pretrained(folder)
        return folder
    # A processor that also reads video cannot be built without torchvision: its files are written part by part.
    parts.words.save_pretrained(folder)
    parts.pictures.save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "processor_class": parts.processor.__name__}))
    if parts.settings:
        stated = {**parts.settings, "processor_class": parts.processor.__name__}
        (folder / "processor_config.json").write_text(json.dumps(stated))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": parts.chat}))
    return folder
