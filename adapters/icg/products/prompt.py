"""Titles that name a product, read by the VLM: learned vectors stand where its word would (Textual Inversion, arXiv:2208.01618).

There is no text encoder here: the VLM is what reads, so the vectors live among its input embeddings. They enter as meta tokens do:
ids that the prompt does not have otherwise hold their places, and a hook replaces these rows, so that positions, masks and image
merging stay the family's own. Vectors in the connector's output, the other way, would not be read together with the title's words.
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
    """(1, M, D_vlm), as `adapter.read`, of the title texts[0] + `vectors` (n, D_vlm) + texts[1]; gradients reach the vectors.

    Raises CheckpointError for vectors of another width.
    """
    device = adapter.meta_tokens.weight.device
    if vectors is None:
        given = reading.inputs(processor, "".join(texts), references)
        return adapter.read(vlm, {name: value.to(device) for name, value in given.items()})
    layer = vlm.get_input_embeddings()
    if vectors.shape[1] != layer.weight.shape[1]:
        raise CheckpointError(
            f"vectors width={vectors.shape[1]}; allowed: {layer.weight.shape[1]}, the VLM's embedding width"
        )
    given, id = holding(processor, texts, len(vectors), references)
    places = given["input_ids"][0] == id

    def insert(_: nn.Module, __: tuple[Any, ...], rows: Tensor) -> Tensor:
        # Meta tokens follow: the layer is called on a longer prompt than `places` knows.
        where = nn.functional.pad(places.to(rows.device), (0, rows.shape[1] - len(places)))
        return rows.masked_scatter(where[None, :, None], vectors.to(rows)[None])

    hook = layer.register_forward_hook(insert)
    try:
        return adapter.read(vlm, {name: value.to(device) for name, value in given.items()})
    finally:
        hook.remove()


def holding(
    processor: Any, texts: tuple[str, str], count: int, references: tuple[Image.Image, ...]
) -> tuple[dict[str, Tensor], int]:
    """The model's inputs with `count` places between the texts, and the id that holds them, which is nowhere else in the prompt."""
    words = processor.tokenizer
    before, after = (reading.plain(processor, text) for text in texts)
    pictures = {getattr(processor, "image_token", None), getattr(processor, "video_token", None)}
    taken = reading.prompt(processor, f"{before}x{after}", len(references))
    tokens = [*words.get_added_vocab(), *words.all_special_tokens]
    for token in sorted(set(tokens) - pictures, key=lambda t: (t == words.pad_token, tokens.index(t))):
        if token not in taken and len(ids := words(token, add_special_tokens=False)["input_ids"]) == 1:
            given = reading.encoded(processor, f"{before}{token * count}{after}", references)
            if int((given["input_ids"] == ids[0]).sum()) == count:
                return given, ids[0]
    raise CheckpointError(f"vlm tokenizer of {len(tokens)} special tokens; allowed: one with a spare one")


def first_vectors(vlm: Any, processor: Any, kind: str, count: int) -> Tensor:
    """(count, D_vlm): the embeddings of the class's own pieces, over and over (arXiv:2208.01618, section 4.1)."""
    ids = torch.tensor(processor.tokenizer(kind, add_special_tokens=False)["input_ids"])
    rows = vlm.get_input_embeddings().weight.detach()[ids.to(vlm.device)].float()
    return rows[torch.arange(count) % len(rows)].clone()
