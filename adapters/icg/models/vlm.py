"""Reads a brief's title and references with any image-text-to-text checkpoint. Knows nothing about users or drawing.

All families share this code: the family's own processor builds the prompt, and the model handles positions. Meta tokens enter
through the model's embedding layer (see `icg.adapter.meta_tokens`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from icg.checkpoints import read_json, variant_of, weights
from icg.errors import BriefError, CheckpointError
from icg.pictures import over_white


def load(folder: str | Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, processor) of a local or hub checkpoint, frozen, in eval mode. Reads safetensors only.

    Raises CheckpointError if files are missing or pickled, weights are incomplete, or the family reads no images.
    """
    from transformers import AutoModelForImageTextToText

    local = Path(folder)
    if isinstance(folder, Path) or local.is_absolute() or local.exists():  # else a name on the hub
        weights("vlm", local)
        read_json("vlm", local / "config.json")
    try:
        kwargs = {"variant": variant_of(local) or None} if local.is_dir() else {}
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **kwargs
        )
        processor = _processor(folder, type(model.config))
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise CheckpointError(
            f"vlm={str(folder)!r}: not readable ({error}); allowed: a transformers checkpoint that reads pictures and text"
        ) from error
    if report["missing_keys"]:  # transformers would use random weights
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise CheckpointError(
            f"vlm={str(folder)!r}: {len(report['missing_keys'])} weights are missing ({names}); allowed: all weights of its config.json"
        )
    # Without its files, transformers creates a tokenizer that knows no word.
    expected, actual = getattr(model.config, "image_token_id", None), getattr(processor, "image_token_id", None)
    if expected not in (actual, None):
        raise CheckpointError(
            f"vlm={str(folder)!r}: the tokenizer's image token is {actual}; allowed: {expected}, as in config.json"
        )
    return model.eval().requires_grad_(False), processor


def inputs(processor: Any, title: str, references: tuple[Image.Image, ...] = ()) -> dict[str, torch.Tensor]:
    """The model's inputs for one item: its references, then its title. One row, so there is no padding. BriefError for an empty item."""
    if not title.strip() and not references:
        raise BriefError("title='' without references; allowed: a title, a reference or both")
    return encoded(processor, plain(processor, title), references)


def encoded(processor: Any, title: str, references: tuple[Image.Image, ...] = ()) -> dict[str, torch.Tensor]:
    """Like `inputs`, but special tokens in the title keep their meaning."""
    text, tokenizer = prompt(processor, title, len(references)), processor.tokenizer
    # Some templates begin with the token that their tokenizer puts before every text.
    has_bos = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    kwargs = {"return_tensors": "pt", "add_special_tokens": not has_bos}
    if references:
        return dict(processor(images=[over_white(r) for r in references], text=text, **kwargs))
    return dict(tokenizer(text, return_token_type_ids=False, **kwargs))


def plain(processor: Any, title: str) -> str:
    """`title` with a space in place of each special token of the family: a title with "<image>" has no image for it."""
    special = sorted(processor.tokenizer.get_added_vocab(), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, special)), " ", title) if special else title


def prompt(processor: Any, title: str, references: int) -> str:
    """The prompt by the family's chat template; without a template, image tokens followed by the title."""
    # Older folders have it in tokenizer_config.json alone.
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if template:
        content = [{"type": "image"}] * references + ([{"type": "text", "text": title}] if title else [])
        messages, kwargs = [{"role": "user", "content": content}], {"tokenize": False, "add_generation_prompt": False}
        template = template["default"] if isinstance(template, dict) else template
        return processor.tokenizer.apply_chat_template(messages, chat_template=template, **kwargs)
    return (getattr(processor, "image_token", "<image>") * references + " " + title).strip()


def describe(model: Any, processor: Any, image: Image.Image, words: int = 16) -> str:
    """The model's own caption (greedy) of an image, of at most `words` tokens: shows what it reads."""
    batch = inputs(processor, "", (image,))
    with torch.inference_mode():
        out = model.generate(**batch, max_new_tokens=words, do_sample=False)
    return processor.tokenizer.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def _processor(folder: str | Path, config: type) -> Any:
    """The family's processor without its video part; PIL resizes its images.

    AutoProcessor needs torchvision for a family that also reads video, and resizes with it if it is installed: then an item's
    pixels would differ between machines.
    """
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.video_processing_utils import VideoProcessorMixin

    kind = PROCESSOR_MAPPING.get(config, None)
    loaders = {
        "tokenizer": lambda: AutoTokenizer.from_pretrained(folder),
        "image_processor": lambda: AutoImageProcessor.from_pretrained(folder, backend="pil"),
        "video_processor": VideoProcessorMixin,
    }
    if kind is None or not set(kind.get_attributes()) <= set(loaders):
        return AutoProcessor.from_pretrained(folder)

    def find(name: str) -> Any:  # the base class looks for this one in a module that needs torchvision
        return VideoProcessorMixin if name == "VideoProcessorMixin" else kind.get_possibly_dynamic_module(name)

    without_video = type(kind.__name__, (kind,), {"get_possibly_dynamic_module": staticmethod(find)})
    settings, rest = kind.get_processor_dict(folder)
    return without_video.from_args_and_dict([loaders[name]() for name in kind.get_attributes()], settings, **rest)
