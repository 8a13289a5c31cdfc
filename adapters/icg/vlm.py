"""Reading a brief's title and references with any image-text-to-text checkpoint. Knows nothing about users or drawing.

One border for all families: the prompt is built by the family's own processor and position handling is left to the
model; meta tokens enter through its embedding layer (see `icg.meta_tokens`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from icg.errors import CheckpointError


def load(folder: str | Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, processor) of a local or hub checkpoint, frozen, in eval mode. Only safetensors are read."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, use_safetensors=True)
        processor = AutoProcessor.from_pretrained(folder)
    except OSError as error:
        raise CheckpointError(
            f"vlm={str(folder)!r}: not readable ({error}); allowed: a transformers checkpoint"
        ) from error
    return model.eval().requires_grad_(False), processor


def inputs(processor: Any, title: str, references: tuple[Image.Image, ...] = ()) -> dict[str, torch.Tensor]:
    """The model's inputs for one item: its references, then its title. Batch of one, so nothing is padded."""
    text = prompt(processor, title, len(references))
    if references:
        return dict(processor(images=[r.convert("RGB") for r in references], text=text, return_tensors="pt"))
    return dict(processor.tokenizer(text, return_tensors="pt", return_token_type_ids=False))


def prompt(processor: Any, title: str, references: int) -> str:
    """The family's chat template where it has one, else image places followed by the title."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}] * references + [{"type": "text", "text": title}]
        return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=False)
    return (getattr(processor, "image_token", "<image>") * references + " " + title).strip()


def describe(model: Any, processor: Any, image: Image.Image, words: int = 16) -> str:
    """The model's own caption of a picture (greedy): a look at what it reads."""
    batch = inputs(processor, "", (image,))
    with torch.inference_mode():
        out = model.generate(**batch, max_new_tokens=words, do_sample=False)
    return processor.tokenizer.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True).strip()
