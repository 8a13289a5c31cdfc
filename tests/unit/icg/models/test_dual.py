"""The dual encoder: its inputs, the conversion of its frozen parts, and that its heads learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from icg import starter
from icg.brief import Brief
from icg.data.art import procedural
from icg.data.bank import build
from icg.data.icons import IconSet, titled
from icg.errors import CheckpointError, IcgError
from icg.models.dual import DualConfig, DualEncoder
from icg.models.trunk import LITE0, LITE1, Conv, Trunk
from icg.rewards.relevance import Recognition
from icg.starter import Starter
from icg.train.loop import Fit
from icg.train.starter import dual, pretrained
from PIL import Image


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    torch.manual_seed(0)
    return DualEncoder(["red", "blue", "circle", "square"], DualConfig(word=8, hidden=16)).eval()


def test_convolutions_pad_as_tensorflow_does() -> None:
    conv = Conv(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(conv.weight)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert conv(x)[0, 0, 0, 0] == x[0, 0, :3, :3].sum(), "of an even side nothing is padded on the left"
    assert conv(x[..., :3, :3])[0, 0, 0, 0] == x[0, 0, :2, :2].sum()
    assert conv(x[..., :3, :3]).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("repeats", [LITE0, LITE1])
def test_batch_norms_are_folded(repeats: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    model, stored = Trunk(repeats), {}

    def put(conv: Conv, theirs: str, norm: str) -> None:
        stored[f"{theirs}.weight"] = torch.randn_like(conv.weight) * 0.1
        for key in ("weight", "bias", "running_mean"):
            stored[f"{norm}.{key}"] = torch.randn(len(conv.weight))
        stored[f"{norm}.running_var"] = torch.rand(len(conv.weight)) + 0.5

    put(model.stem, "_conv_stem", "_bn0")
    put(model.head, "_conv_head", "_bn1")
    for n, block in enumerate(model.blocks):
        if isinstance(block.widen, Conv):
            put(block.widen, f"_blocks.{n}._expand_conv", f"_blocks.{n}._bn0")
        put(block.around, f"_blocks.{n}._depthwise_conv", f"_blocks.{n}._bn1")
        put(block.narrow, f"_blocks.{n}._project_conv", f"_blocks.{n}._bn2")
    folded = pretrained.trunk(stored, repeats)
    x = torch.randn(2, 3, 32, 32)
    plain = F.conv2d(F.pad(x, (0, 1, 0, 1)), stored["_conv_stem.weight"], stride=2)
    norm = [stored[f"_bn0.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
    assert torch.allclose(folded.stem(x), F.batch_norm(plain, *norm, eps=1e-3), atol=1e-4)
    assert folded(x).shape == (2, 2560)
    with pytest.raises(IcgError, match="not an EfficientNet-Lite"):
        pretrained.trunk(stored, LITE1 if repeats == LITE0 else (1, 2, 2, 3, 3, 5, 1))


def test_titles_are_read_word_by_word(encoder: DualEncoder) -> None:
    one, again, none = encoder.titles(["A red circle!", "circle of RED", "qqzz 42"])
    assert torch.allclose(one, again)
    assert float(one.detach().norm()) == pytest.approx(1)
    assert not none.any()
    assert encoder.titles([]).shape == (0, 64)


def test_it_comes_back(encoder: DualEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path, torch.float32)
    back = DualEncoder.from_pretrained(tmp_path)
    pixels = torch.rand(2, 3, 128, 128) * 2 - 1
    assert torch.equal(back.images(pixels), encoder.images(pixels))
    assert torch.equal(back.titles(["red square"]), encoder.titles(["red square"]))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("words.txt", None, "words.txt is missing"),
        ("words.txt", "red blue", "does not match|not JSON"),
        ("config.json", json.dumps({"word": 9, "hidden": 16, "repeats": LITE0}), "does not match|not JSON"),
        ("config.json", "{", "does not match|not JSON"),
        ("config.json", json.dumps({"width": 9, "repeats": LITE0}), "does not match|not JSON"),
        ("model.safetensors", None, "model.safetensors is missing"),
    ],
)
def test_folders_that_do_not_fit_are_named(
    encoder: DualEncoder, tmp_path: Path, name: str, text: str, message: str
) -> None:
    encoder.save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        DualEncoder.from_pretrained(tmp_path)


def test_the_heads_learn_and_the_rest_stays(tmp_path: Path) -> None:
    torch.manual_seed(0)
    subjects = procedural(6)
    words = sorted({w for s in subjects for w in s.title.split()})
    model = DualEncoder(words, DualConfig(word=16, hidden=32))
    model.trunk = DualEncoder.from_pretrained(starter.path() / "dual").trunk.requires_grad_(False)
    trunk = {k: v.clone() for k, v in model.trunk.state_dict().items()}
    shown = dual.of_bank(model, subjects, build(subjects, 48, 0))
    assert shown.features.shape == (48, 2560)
    before = dual.retrieval(model.eval(), shown, [s.title for s in subjects])["top1"]
    icons = dual.TitledFeatures(shown.features[:20], shown.title[:20], shown.titles)
    dual.run(tmp_path, model, shown, icons, Fit(steps=60, lr=3e-3, batch=32, warmup=5))
    after = dual.retrieval(model, shown, [s.title for s in subjects])["top1"]
    assert after > before + 0.2
    assert all(torch.equal(v, trunk[k]) for k, v in model.trunk.state_dict().items())


def test_icons_leave_out_unseen_titles(tmp_path: Path) -> None:
    folder = tmp_path / "@iconify-json" / "noto"
    folder.mkdir(parents=True)
    body = '<path d="M2 2h6v9H2z" fill="red"/>'
    names = ("hot-dog", "dog", "dog-house", "house", "house-outline", "x")
    (folder / "icons.json").write_text(
        json.dumps({"icons": {n: {"body": body} for n in names}, "width": 16, "height": 16})
    )
    (folder / "chars.json").write_text(json.dumps({"1f3e0": "house"}))
    icons = list(titled(tmp_path, ["Hot dog", "outer house"], ["noto"], side=24))
    assert [(title, package) for title, package, _ in icons] == [
        ("dog", "noto"),
        ("dog house", "noto"),
        ("house", "noto"),
    ]
    assert icons[0][2].shape == (24, 24, 4)
    assert (icons[0][2][12, 12] == (255, 0, 0, 255)).all()
    assert IconSet(tmp_path, "noto").slug("1f3e0-fe0f") == "house"
    with pytest.raises(IcgError, match="@iconify-json/mdi"):
        list(titled(tmp_path, [], ["mdi"]))


def test_recognition_asks_for_the_own_title_before_others(small: Starter) -> None:
    reward = Recognition(small.embedding, ["red circle", "blue square", "green triangle"])
    images = [Image.new("RGB", (60, 60), c) for c in ("red", "blue")]
    values = reward(images, [Brief("red circle"), Brief("blue square")])
    assert ((values <= 0) & (values >= reward.range[0])).all()
    chances = sum(np.exp(reward(images, [Brief(t)] * 2)) for t in ("red circle", "blue square", "green triangle"))
    assert chances == pytest.approx([1, 1], abs=1e-4), "the own title is not counted twice"
    for bad in ({"others": []}, {"others": ["a"], "scale": 0.0}):
        with pytest.raises(IcgError, match="allowed: at least one title"):
            Recognition(small.embedding, **bad)
