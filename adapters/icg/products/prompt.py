"""Titles that name a product, read by the VLM: trained vectors in place of its word (Textual Inversion, arXiv:2208.01618).

Here the VLM reads the text, so the vectors are among its input embeddings. They enter like meta tokens: ids that do not occur otherwise in
the prompt hold their positions, and a hook replaces these rows, so that the family's own code computes positions and masks and merges
images. Vectors in the connector's output, the alternative, would not be read together with the title's words.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from icg.adapter.model import IcgAdapter
from icg.errors import CheckpointError
from icg.models import vlm as reading


def read(
    adapter: IcgAdapter,
    vlm: Any,
    processor: Any,
    texts: tuple[str, str],
    vectors: Tensor | None,
    references: tuple[Image.Image, ...] = (),
) -> Tensor:
    """(1, M, D_vlm) of `adapter.read` for the title texts[0] + `vectors` (n, D_vlm) + texts[1]; vectors receive gradients.

    Raises CheckpointError for vectors of another width.
    """
    device = adapter.meta_tokens.weight.device
    if vectors is None:
        inputs = reading.inputs(processor, "".join(texts), references)
        return adapter.read(vlm, {name: value.to(device) for name, value in inputs.items()})
    layer = vlm.get_input_embeddings()
    if vectors.shape[1] != layer.weight.shape[1]:
        raise CheckpointError(
            f"vectors width={vectors.shape[1]}; allowed: {layer.weight.shape[1]}, the VLM's embedding width"
        )
    inputs, id = with_placeholders(processor, texts, len(vectors), references)
    mask = inputs["input_ids"][0] == id

    def insert(_: nn.Module, __: tuple[Any, ...], rows: Tensor) -> Tensor:
        # The layer's prompt is longer than `mask`: meta tokens follow.
        padded = nn.functional.pad(mask.to(rows.device), (0, rows.shape[1] - len(mask)))
        return rows.masked_scatter(padded[None, :, None], vectors.to(rows)[None])

    hook = layer.register_forward_hook(insert)
    try:
        return adapter.read(vlm, {name: value.to(device) for name, value in inputs.items()})
    finally:
        hook.remove()


def with_placeholders(
    processor: Any, texts: tuple[str, str], count: int, references: tuple[Image.Image, ...]
) -> tuple[dict[str, Tensor], int]:
    """The model's inputs with `count` placeholders between the texts, and the placeholders' id, which the prompt has nowhere else."""
    tokenizer = processor.tokenizer
    before, after = (reading.plain(processor, text) for text in texts)
    images = {getattr(processor, "image_token", None), getattr(processor, "video_token", None)}
    prompt = reading.prompt(processor, f"{before}x{after}", len(references))
    tokens = [*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens]
    for token in sorted(set(tokens) - images, key=lambda t: (t == tokenizer.pad_token, tokens.index(t))):
        if token not in prompt and len(ids := tokenizer(token, add_special_tokens=False)["input_ids"]) == 1:
            inputs = reading.encoded(processor, f"{before}{token * count}{after}", references)
            if int((inputs["input_ids"] == ids[0]).sum()) == count:
                return inputs, ids[0]
    raise CheckpointError(f"vlm tokenizer of {len(tokens)} special tokens; allowed: one with an unused one")


def first_vectors(vlm: Any, processor: Any, kind: str, count: int) -> Tensor:
    """(count, D_vlm): the embeddings of the class's own tokens, repeated (arXiv:2208.01618, section 4.1)."""
    ids = torch.tensor(processor.tokenizer(kind, add_special_tokens=False)["input_ids"])
    rows = vlm.get_input_embeddings().weight.detach()[ids.to(vlm.device)].float()
    return rows[torch.arange(count) % len(rows)].clone()
