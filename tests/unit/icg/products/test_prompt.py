"""Learned vectors in a title: a word's own embeddings as vectors are read like the word, in every VLM family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.errors import CheckpointError
from icg.models import vlm as reading
from icg.products.prompt import first_vectors, read, with_placeholders
from PIL import Image

from tests.unit.icg import tiny_vlm

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))


def adapter() -> IcgAdapter:
    torch.manual_seed(0)
    return IcgAdapter(AdapterConfig(tiny_vlm.WIDTH, 24, tokens=4)).eval()


def embedded(vlm: Any, processor: Any, text: str) -> torch.Tensor:
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return vlm.get_input_embeddings().weight.detach()[ids].clone()


@pytest.mark.parametrize("references", [(), (PICTURE,)])
@pytest.mark.parametrize("name", tiny_vlm.VLM)
def test_a_words_own_embeddings_read_like_the_word(
    vlm_of: Callable[[str], tuple[Any, Any]], name: str, references: tuple[Image.Image, ...]
) -> None:
    vlm, processor = vlm_of(name)
    with torch.no_grad():
        mine = read(adapter(), vlm, processor, ("a ", " here"), embedded(vlm, processor, "kettle"), references)
        word = adapter().read(vlm, reading.inputs(processor, "a kettle here", references))
        other = read(adapter(), vlm, processor, ("a ", " here"), embedded(vlm, processor, "bottle"), references)
        plain = read(adapter(), vlm, processor, ("a kettle here", ""), None, references)
    assert torch.allclose(mine, word, atol=1e-5)
    assert torch.equal(plain, word)
    assert (other - word).abs().max() > 1e-4


@pytest.mark.parametrize("name", tiny_vlm.VLM)
def test_only_the_vectors_learn(vlm_of: Callable[[str], tuple[Any, Any]], name: str) -> None:
    vlm, processor = vlm_of(name)
    model = adapter().requires_grad_(False)
    vectors = first_vectors(vlm, processor, "kettle", 9).requires_grad_()
    read(model, vlm, processor, ("", ""), vectors).square().sum().backward()
    assert vectors.grad is not None
    assert (vectors.grad.abs().sum(1) > 0).all(), "each of them is read"
    assert all(p.grad is None for p in [*vlm.parameters(), *model.parameters()])
    assert not vlm.get_input_embeddings()._forward_hooks


def test_special_tokens_of_a_title_hold_no_place(vlm_of: Callable[[str], tuple[Any, Any]]) -> None:
    vlm, processor = vlm_of("smolvlm")
    special_tokens = " ".join(processor.tokenizer.get_added_vocab())
    inputs, id = with_placeholders(processor, (f"a {special_tokens} ", f" {special_tokens}"), 3, ())
    assert int((inputs["input_ids"] == id).sum()) == 3
    with pytest.raises(CheckpointError, match=rf"vectors width=7; allowed: {tiny_vlm.WIDTH}"):
        read(adapter(), vlm, processor, ("a ", ""), torch.zeros(3, 7))
