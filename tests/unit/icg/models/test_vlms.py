"""Each vision-language family with its own classes: the states of meta tokens equal those that the family itself computes."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from icg.adapter.meta_tokens import MetaTokens
from icg.errors import BriefError, CheckpointError
from icg.models import vlm as reading
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken

from tests.unit.icg import tiny_vlm

Open = Callable[[str], tuple[Any, Any]]
M = 4


def picture(seed: int, width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise)


WIDE, TALL, SMALL = picture(0, 60, 30), picture(1, 24, 70), picture(2, 33, 33)
ITEMS: dict[str, tuple[str, tuple[Image.Image, ...]]] = {
    "title only": ("red kettle", ()),
    "one reference": ("red kettle", (WIDE,)),
    "several of different sizes": ("red kettle", (WIDE, TALL, SMALL)),
    "no title": ("", (TALL,)),
}
families = pytest.mark.parametrize("name", tiny_vlm.VLM)
items = pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)


@pytest.fixture
def meta() -> MetaTokens:
    torch.manual_seed(3)
    tokens = MetaTokens(M, tiny_vlm.WIDTH)
    tokens.weight.data.normal_()
    return tokens


TEMPLATE = (
    "{% for m in messages %}User: {% for c in m['content'] %}{{ c['text'] or '<image>' }}{% endfor %}{% endfor %}"
)


def read(
    meta: MetaTokens, opened: tuple[Any, Any], title: str, references: tuple[Image.Image, ...] = ()
) -> torch.Tensor:
    with torch.no_grad():
        return meta.read(opened[0], reading.inputs(opened[1], title, references))


def as_words(
    opened: tuple[Any, Any], meta: MetaTokens, title: str, references: tuple[Image.Image, ...]
) -> tuple[Any, dict[str, torch.Tensor]]:
    """The same VLM with meta tokens as words of its vocabulary, and its inputs as its own processor makes them."""
    model, processor = copy.deepcopy(opened[0]), copy.deepcopy(opened[1])
    names = [f"<meta_{i}>" for i in range(M)]
    processor.tokenizer.add_tokens([AddedToken(name, special=True) for name in names])
    model.get_input_embeddings().weight.data[processor.tokenizer.convert_tokens_to_ids(names)] = meta.weight.data
    text = reading.prompt(processor, title, len(references)) + "".join(names)
    begun = text.startswith(processor.tokenizer.bos_token)
    pictures = {"images": list(references)} if references else {}
    return model, dict(processor(text=text, return_tensors="pt", add_special_tokens=not begun, **pictures))


@families
@items
def test_encoding_equals_the_familys_own(
    vlm_of: Open, meta: MetaTokens, name: str, item: tuple[str, tuple[Image.Image, ...]]
) -> None:
    hidden = read(meta, vlm_of(name), *item)
    model, inputs = as_words(vlm_of(name), meta, *item)
    with torch.no_grad():
        expected = model.model(**inputs).last_hidden_state[:, -M:]
    assert hidden.shape == (1, M, tiny_vlm.WIDTH)
    assert torch.isfinite(hidden).all()
    assert torch.allclose(hidden, expected, atol=1e-5)


@families
@items
def test_wrong_positions_would_be_noticed(
    vlm_of: Open, meta: MetaTokens, name: str, item: tuple[str, tuple[Image.Image, ...]]
) -> None:
    """The comparison above is sensitive: the same inputs at other positions give other states."""
    hidden = read(meta, vlm_of(name), *item)
    model, inputs = as_words(vlm_of(name), meta, *item)
    places = torch.arange(inputs["input_ids"].shape[1])[None]
    if not (name.startswith("qwen") and item[1]):  # these count pictures differently; the others need a gap
        places[:, -M:] += 5
    elif name.startswith("qwen"):
        places = places.expand(3, 1, -1)
    with torch.no_grad():
        wrong = model.model(**inputs, position_ids=places).last_hidden_state[:, -M:]
    assert (hidden - wrong).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_meta_tokens_follow_a_picture_by_its_longer_edge(vlm_of: Open, meta: MetaTokens, name: str) -> None:
    """Positions in three dimensions: a picture of h x w tokens takes max(h, w) positions, and text follows."""
    positions: list[torch.Tensor] = []
    model, processor = vlm_of(name)
    inputs = reading.inputs(processor, "red kettle", (WIDE,))
    hook = model.model.language_model.register_forward_pre_hook(
        lambda _, __, kwargs: positions.append(kwargs["position_ids"][-3:, 0]), with_kwargs=True
    )
    with torch.no_grad():
        meta.read(model, inputs)
    hook.remove()
    _, height, width = (inputs["image_grid_thw"][0] // torch.tensor([1, 2, 2])).tolist()
    text = inputs["input_ids"].shape[1] - height * width
    expected = text + max(height, width) + torch.arange(M)
    assert torch.equal(positions[0][:, -M:], expected.expand(3, -1))


def test_a_cut_out_is_read_on_white(vlm_of: Open) -> None:
    """Not on the colours that its transparent pixels hide: a black drawing would be a black picture."""
    ink, white = Image.new("RGBA", (40, 40)), Image.new("RGB", (40, 40), "white")
    for picture in (ink, white):
        picture.paste((0, 0, 0), (10, 10, 30, 30))
    _, processor = vlm_of("smolvlm")
    own, expected = (reading.inputs(processor, "kettle", (picture,))["pixel_values"] for picture in (ink, white))
    assert torch.equal(own, expected)
    assert own.std() > 0


@families
def test_a_title_read_through_embeddings_is_the_same(vlm_of: Open, meta: MetaTokens, name: str) -> None:
    """Also after a picture: no state of one item changes the next."""
    read(meta, vlm_of(name), "", (WIDE, TALL))
    hidden = read(meta, vlm_of(name), "red kettle")
    model, processor = vlm_of(name)
    model = copy.deepcopy(model)
    if hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = None
    inputs = reading.inputs(processor, "red kettle")
    with torch.no_grad():
        embeds = torch.cat([model.get_input_embeddings()(inputs["input_ids"]), meta.weight[None]], 1)
        expected = model.model(inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2])).last_hidden_state
    assert torch.allclose(hidden, expected[:, -M:], atol=1e-5)


@families
def test_reading_depends_on_title_and_on_every_picture(vlm_of: Open, meta: MetaTokens, name: str) -> None:
    base = read(meta, vlm_of(name), "red kettle", (WIDE, TALL))
    others = {
        "title": ("green kettle", (WIDE, TALL)),
        "first": ("red kettle", (picture(9, 60, 30), TALL)),
        "second": ("red kettle", (WIDE, picture(9, 24, 70))),
        "order": ("red kettle", (TALL, WIDE)),
    }
    for what, item in others.items():
        assert (read(meta, vlm_of(name), *item) - base).abs().max() > 1e-3, what
    assert torch.equal(read(meta, vlm_of(name), "red kettle", (WIDE, TALL)), base)


@families
def test_gradients_reach_the_meta_tokens_alone(vlm_of: Open, meta: MetaTokens, name: str) -> None:
    model, processor = vlm_of(name)
    meta.read(model, reading.inputs(processor, "red kettle", (WIDE, SMALL))).square().sum().backward()
    assert meta.weight.grad is not None
    assert (meta.weight.grad.abs().sum(1) > 0).all()
    assert torch.isfinite(meta.weight.grad).all()
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


@families
def test_half_precision_reads_nearly_the_same(
    vlm_of: Open, vlm_folder: Callable[[str], Path], meta: MetaTokens, name: str
) -> None:
    half = reading.load(vlm_folder(name), torch.bfloat16)
    assert {p.dtype for p in half[0].parameters()} == {torch.bfloat16}
    hidden, exact = read(meta, half, "red kettle", (WIDE,)), read(meta, vlm_of(name), "red kettle", (WIDE,))
    assert hidden.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(hidden, exact, dim=-1).min() > 0.98


@families
def test_a_title_of_special_tokens_promises_no_picture(vlm_of: Open, meta: MetaTokens, name: str) -> None:
    processor = vlm_of(name)[1]
    special = " ".join(["kettle", *processor.tokenizer.get_added_vocab()])
    for references in ((), (WIDE,)):
        plain = reading.inputs(processor, "kettle", references)["input_ids"][0].tolist()
        hostile = reading.inputs(processor, special, references)["input_ids"][0].tolist()
        tokens = set(processor.tokenizer.get_added_vocab().values())
        assert [i for i in hostile if i in tokens] == [i for i in plain if i in tokens]
        assert torch.isfinite(read(meta, vlm_of(name), special, references)).all()


@families
def test_the_first_token_of_a_text_is_not_repeated(vlm_of: Open, name: str) -> None:
    processor = vlm_of(name)[1]
    for references in ((), (WIDE,)):
        ids = reading.inputs(processor, "kettle", references)["input_ids"][0].tolist()
        assert ids.count(processor.tokenizer.bos_token_id) == (1 if name in ("llava", "idefics3", "smolvlm") else 0)


@families
def test_saved_again_it_opens_again(vlm_of: Open, meta: MetaTokens, name: str, tmp_path: Path) -> None:
    model, processor = vlm_of(name)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = reading.load(tmp_path)
    assert torch.equal(read(meta, again, "kettle", (WIDE,)), read(meta, vlm_of(name), "kettle", (WIDE,)))
    assert isinstance(reading.describe(*again, WIDE, words=2), str)


def test_padding_on_the_right_and_other_widths_are_refused(vlm_of: Open, meta: MetaTokens) -> None:
    model, processor = vlm_of("llava")
    inputs = reading.inputs(processor, "kettle")
    inputs["attention_mask"][:, -1] = 0
    with pytest.raises(BriefError, match="padded on their right; allowed: padding on the left"):
        meta.read(model, inputs)
    with pytest.raises(CheckpointError, match="width=48; allowed: 32"):
        MetaTokens(M, 48).read(model, reading.inputs(processor, "kettle"))
    with pytest.raises(BriefError, match="allowed: a title, a reference or both"):
        reading.inputs(processor, "  ")


@families
def test_padding_on_the_left_changes_nothing(vlm_of: Open, meta: MetaTokens, name: str) -> None:
    model, processor = vlm_of(name)
    inputs = reading.inputs(processor, "kettle", (WIDE,))
    padded = dict(inputs)
    for key in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if key in inputs:
            padded[key] = torch.nn.functional.pad(inputs[key], (3, 0))
    if not name.startswith("qwen"):  # Qwen counts positions from the mask, the others use the passed ones
        padded["position_ids"] = torch.cat(
            [torch.zeros(3, dtype=torch.long), torch.arange(inputs["input_ids"].shape[1] + M)]
        )[None]
    with torch.no_grad():
        assert torch.allclose(meta.read(model, padded), meta.read(model, inputs), atol=1e-4)


def broken(folder: Path, into: Path, breakage: str) -> Path:
    shutil.copytree(folder, into)
    weights, config = into / "model.safetensors", into / "config.json"
    if breakage == "pickled":
        torch.save(load_file(weights), into / "pytorch_model.bin")
        weights.unlink()
    elif breakage == "no weights":
        weights.unlink()
    elif breakage == "no config":
        config.unlink()
    elif breakage == "no tokenizer":
        for left in ("tokenizer.json", "tokenizer_config.json"):
            (into / left).unlink()
    elif breakage == "unknown family":
        config.write_text(json.dumps({"model_type": "nobody_vl"}))
    elif breakage == "text only":
        config.write_text(json.dumps({"model_type": "llama"}))
    elif breakage == "cut off":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif breakage == "incomplete":
        tensors = load_file(weights)
        tensors.pop(next(key for key in tensors if "mlp.down_proj" in key))
        save_file(tensors, weights, {"format": "pt"})
    elif breakage == "other widths":
        stated = json.loads(config.read_text())
        stated["text_config"]["hidden_size"] = 64
        config.write_text(json.dumps(stated))
    return into


@pytest.mark.parametrize(
    ("breakage", "message"),
    {
        "pickled": r"only pickled weights \(pytorch_model\.bin\); allowed: model\.safetensors",
        "no weights": r"model\.safetensors is missing; allowed: model\.safetensors",
        "no config": r"config\.json is missing; allowed: a whole checkpoint folder",
        "no tokenizer": "the tokenizer's image token is .*; allowed: 262, as in config",
        "unknown family": r"nobody_vl.*allowed: a transformers checkpoint that reads pictures and text",
        "text only": "allowed: a transformers checkpoint that reads pictures and text",
        "cut off": "bytes of weights where the header says .*; allowed: a whole file",
        "incomplete": "1 weights are missing .*; allowed: all weights of its config.json",
        "other widths": "allowed: a transformers checkpoint that reads pictures and text",
    }.items(),
)
def test_a_model_that_cannot_be_loaded_is_named(
    vlm_folder: Callable[[str], Path], tmp_path: Path, breakage: str, message: str
) -> None:
    folder = broken(vlm_folder("qwen2_5_vl"), tmp_path / "vlm", breakage)
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        reading.load(folder)
    with pytest.raises(CheckpointError, match="no such folder; allowed"):
        reading.load(tmp_path / "nowhere")


def test_a_missing_package_is_named(vlm_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", None)
    with pytest.raises(CheckpointError, match="num2words"):
        reading.load(vlm_folder("smolvlm"))


@families
def test_a_template_of_the_tokenizer_alone_gives_the_same_prompt(vlm_of: Open, name: str) -> None:
    processor = copy.deepcopy(vlm_of(name)[1])
    processor.chat_template = processor.chat_template or processor.tokenizer.chat_template or TEMPLATE
    before = reading.prompt(processor, "A red kettle", 1)
    processor.tokenizer.chat_template, processor.chat_template = processor.chat_template, None
    assert reading.prompt(processor, "A red kettle", 1) == before
    assert before != "<image> A red kettle"
