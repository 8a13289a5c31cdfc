"""The scale of a text encoder's outputs is measured on the pipeline's own one, and a new adapter begins with it."""

import json
from pathlib import Path

import pytest
import torch
from icg.adapter.connector import Connector
from icg.errors import CheckpointError
from icg.models.families import ConditioningSpec
from icg.models.text_encoders import text_scale
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tests.unit.icg import tiny

SCALE = 0.2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Stable Diffusion with a text encoder whose last norm has the weight SCALE."""
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={word: n for n, word in enumerate(words)}, merges=[], model_max_length=16)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        eos_token_id=len(words) - 1,
        bos_token_id=len(words) - 2,
        pad_token_id=len(words) - 1,
    )
    encoder = CLIPTextModel(config)
    norm = encoder.text_model.final_layer_norm if hasattr(encoder, "text_model") else encoder.final_layer_norm
    torch.nn.init.constant_(norm.weight, SCALE)
    pipeline = tiny.diffusion("sd15")
    pipeline.register_modules(text_encoder=encoder, tokenizer=tokenizer)
    pipeline.save_pretrained(tmp_path / "diffusion")
    return tmp_path / "diffusion"


def test_the_scale_is_that_of_the_pipelines_own_encoder(folder: Path) -> None:
    assert text_scale(folder, ["red fox", "mug"]) == pytest.approx(SCALE, rel=0.1)


def test_a_folder_without_a_text_encoder_has_no_scale(tmp_path: Path) -> None:
    tiny.diffusion("sd15").save_pretrained(tmp_path)
    assert text_scale(tmp_path, ["mug"]) is None


def test_a_broken_text_encoder_is_refused_by_name(folder: Path) -> None:
    (folder / "text_encoder" / "config.json").write_text(
        json.dumps({"model_type": "clip_text_model", "hidden_size": 16})
    )
    with pytest.raises(CheckpointError, match="its text encoder is not readable"):
        text_scale(folder, ["mug"])


def test_a_connector_of_that_scale_gives_conditions_of_it() -> None:
    connector = Connector(32, ConditioningSpec(96), places=5)
    connector.scale(SCALE)
    embeds, _ = connector(torch.randn(2, 5, 32))
    assert embeds.square().mean().sqrt().item() == pytest.approx(SCALE, rel=0.05)


def test_places_begin_as_nothing_and_are_trained() -> None:
    connector = Connector(32, ConditioningSpec(96), places=5)
    same = torch.ones(1, 5, 32)
    before, _ = connector(same)
    assert torch.allclose(before[:, 0], before[:, 4], atol=1e-5), "equal tokens give equal conditions at first"
    before.square().sum().backward()
    assert connector.places is not None
    assert connector.places.grad is not None
    torch.nn.init.normal_(connector.places)
    after, _ = connector(same)
    assert not torch.allclose(after[:, 0], after[:, 4], atol=1e-2)
