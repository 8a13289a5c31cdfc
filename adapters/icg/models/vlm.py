"""Reading a brief's title and references with any image-text-to-text checkpoint. Knows nothing about users or drawing.

One border for all families: the prompt is built by the family's own processor and position handling is left to the
model; meta tokens enter through its embedding layer (see `icg.adapter.meta_tokens`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from icg.checkpoints import read_json, weights
from icg.errors import BriefError, CheckpointError


def load(folder: str | Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, processor) of a local or hub checkpoint, frozen, in eval mode. Only safetensors are read.

    Raises CheckpointError when files are missing or pickled, weights are incomplete, or the family reads no pictures.
    """
    from transformers import AutoModelForImageTextToText

    local = Path(folder)
    if isinstance(folder, Path) or local.is_absolute() or local.exists():  # else the name of a checkpoint on the hub
        weights("vlm", local)
        read_json("vlm", local / "config.json")
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
        processor = _processor(folder, type(model.config))
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise CheckpointError(
            f"vlm={str(folder)!r}: not readable ({error}); allowed: a transformers checkpoint that reads pictures and text"
        ) from error
    if report["missing_keys"]:  # transformers would go on with random numbers
        some = ", ".join(sorted(report["missing_keys"])[:3])
        raise CheckpointError(
            f"vlm={str(folder)!r}: {len(report['missing_keys'])} weights are missing ({some}); allowed: all that its config asks for"
        )
    asked, had = getattr(model.config, "image_token_id", None), getattr(processor, "image_token_id", None)
    if asked != had and asked is not None:  # without its files, a tokenizer is made all the same, and knows no word
        raise CheckpointError(
            f"vlm={str(folder)!r}: the tokenizer's picture token is {had}; allowed: {asked}, as in config.json"
        )
    return model.eval().requires_grad_(False), processor


def inputs(processor: Any, title: str, references: tuple[Image.Image, ...] = ()) -> dict[str, torch.Tensor]:
    """The model's inputs for one item: its references, then its title. Batch of one, so nothing is padded."""
    if not title.strip() and not references:
        raise BriefError("title='' without references; allowed: a title, a reference or both")
    return encoded(processor, plain(processor, title), references)


def encoded(processor: Any, title: str, references: tuple[Image.Image, ...] = ()) -> dict[str, torch.Tensor]:
    """As `inputs`, of a title that may hold special tokens, which then mean what they mean."""
    text, words = prompt(processor, title, len(references)), processor.tokenizer
    # Some templates begin with what their tokenizer would put before every text.
    begun = bool(words.bos_token) and text.startswith(words.bos_token)
    how = {"return_tensors": "pt", "add_special_tokens": not begun}
    if references:
        return dict(processor(images=[r.convert("RGB") for r in references], text=text, **how))
    return dict(words(text, return_token_type_ids=False, **how))


def plain(processor: Any, title: str) -> str:
    """`title` with a space for each of the family's special tokens: one that says <image> promises no picture."""
    special = sorted(processor.tokenizer.get_added_vocab(), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, special)), " ", title) if special else title


def prompt(processor: Any, title: str, references: int) -> str:
    """The family's chat template where it has one, else image places followed by the title."""
    template = getattr(processor, "chat_template", None)
    if template:
        content = [{"type": "image"}] * references + ([{"type": "text", "text": title}] if title else [])
        said, how = [{"role": "user", "content": content}], {"tokenize": False, "add_generation_prompt": False}
        template = template["default"] if isinstance(template, dict) else template
        return processor.tokenizer.apply_chat_template(said, chat_template=template, **how)
    return (getattr(processor, "image_token", "<image>") * references + " " + title).strip()


def describe(model: Any, processor: Any, image: Image.Image, words: int = 16) -> str:
    """The model's own caption of a picture (greedy): a look at what it reads."""
    batch = inputs(processor, "", (image,))
    with torch.inference_mode():
        out = model.generate(**batch, max_new_tokens=words, do_sample=False)
    return processor.tokenizer.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def _processor(folder: str | Path, config: type) -> Any:
    """The family's processor without its video half, its pictures resized by PIL.

    AutoProcessor wants torchvision wherever a family also reads video, and resizes by it where it is installed: an item
    would then be read in other numbers on another machine.
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

    def find(name: str) -> Any:  # the base looks where only torchvision puts this one
        return VideoProcessorMixin if name == "VideoProcessorMixin" else kind.get_possibly_dynamic_module(name)

    pictures = type(kind.__name__, (kind,), {"get_possibly_dynamic_module": staticmethod(find)})
    stated, rest = kind.get_processor_dict(folder)
    return pictures.from_args_and_dict([loaders[name]() for name in kind.get_attributes()], stated, **rest)
