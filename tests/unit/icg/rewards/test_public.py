"""Public rewards equal their own models; errors for pickles and other weights say what to do."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.errors import CheckpointError
from icg.rewards.aesthetic import layers_of
from icg.rewards.image_reward import DEVIATION, MEAN, ImageReward
from icg.rewards.open_clip import to_transformers
from icg.starter import rewards
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoTokenizer

from tests.unit.icg import tiny_judges as tiny

RNG = np.random.default_rng(0)
IMAGES = [Image.fromarray(RNG.integers(0, 256, (50, 40, 3), np.uint8)) for _ in range(3)]
BRIEFS = [Brief(t) for t in ("kettle", "a red bicycle", "Moon")]


def test_pickscore_is_the_models_own_logit(tmp_path: Path) -> None:
    model = tiny.clip(tmp_path)
    words = AutoTokenizer.from_pretrained(tmp_path)([b.title for b in BRIEFS], return_tensors="pt", padding=True)
    pixels = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(images=IMAGES, return_tensors="pt")
    with torch.no_grad():
        output = model(input_ids=words["input_ids"], attention_mask=words["attention_mask"], **pixels)
    logits, scale = output.logits_per_image.diagonal().numpy(), model.logit_scale.exp().item()
    pick, clip = rewards.load("pickscore", tmp_path), rewards.load("clip", tmp_path)
    np.testing.assert_allclose(pick(IMAGES, BRIEFS), logits, atol=1e-4)
    np.testing.assert_allclose(clip(IMAGES, BRIEFS), logits / scale, atol=1e-5)
    assert pick.range[1] == pytest.approx(scale)
    assert np.ptp(logits) > 1e-3


def test_a_very_long_picture_is_cropped_not_blown_up(tmp_path: Path) -> None:
    tiny.clip(tmp_path)
    middle = Image.fromarray(RNG.integers(0, 256, (20, 60, 3), np.uint8))
    reward, brief = rewards.load("clip", tmp_path), [Brief("kettle")]
    values = []
    for width in (60, 60_000):
        long = Image.new("RGB", (width, 20), "red")
        long.paste(middle, ((width - 60) // 2, 0))
        values.append(reward([long], brief)[0])
    assert values[0] == pytest.approx(values[1], abs=1e-3)


def test_a_processor_may_live_elsewhere(tmp_path: Path) -> None:
    tiny.clip(tmp_path / "whole")
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "bare" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    with pytest.raises(CheckpointError, match="clip="):
        rewards.load("pickscore", tmp_path / "bare")
    whole = rewards.load("pickscore", tmp_path / "whole")
    parted = rewards.load("pickscore", tmp_path / "bare", processor=tmp_path / "whole")
    np.testing.assert_array_equal(whole(IMAGES, BRIEFS), parted(IMAGES, BRIEFS))


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    tiny.classifier(tmp_path, "normal", "nsfw")
    tiny.tokenizer(tmp_path)
    with pytest.raises(CheckpointError, match="a ViTModel; allowed: CLIP or SigLIP"):
        rewards.load("clip", tmp_path)


@pytest.mark.parametrize("linear", [True, False])
def test_the_laion_head_is_a_product_of_matrices(tmp_path: Path, linear: bool) -> None:
    model = tiny.clip(tmp_path)
    weights = tiny.laion_head(tmp_path / "head.safetensors", linear=linear)
    pixels = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(images=IMAGES, return_tensors="pt")
    with torch.no_grad():
        x = model.get_image_features(**pixels).pooler_output
    x = x / x.norm(dim=1, keepdim=True)
    for name in sorted({k.rpartition("weight")[0] for k in weights if k.endswith("weight")}):
        x = x @ weights[f"{name}weight"].T + weights[f"{name}bias"]
    reward = rewards.load("laion-aesthetic", tmp_path, head=tmp_path / "head.safetensors")
    np.testing.assert_allclose(reward(IMAGES, BRIEFS), x[:, 0].clamp(1, 10), atol=1e-4)


def test_a_pickle_is_refused_and_the_command_it_names_converts_it(tmp_path: Path) -> None:
    tiny.clip(tmp_path)
    weights = tiny.laion_head(tmp_path / "unused.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match="pickles are not read") as refused:
        rewards.load("laion-aesthetic", tmp_path, head=tmp_path / "head.pth")
    command = shlex.split(re.search(r"To convert: (.+)", str(refused.value))[1])
    assert command[0] == "python"
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=100)
    done = load_file(tmp_path / "head.safetensors")
    assert all(torch.equal(done[k], v) for k, v in weights.items())
    rewards.load("laion-aesthetic", tmp_path, head=tmp_path / "head.safetensors")


def test_heads_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tiny.clip(tmp_path)
    with pytest.raises(CheckpointError, match=r"aesthetic\.safetensors': no such file"):
        rewards.load("laion-aesthetic", tmp_path)
    tiny.laion_head(tmp_path / "wide.safetensors", width=13)
    with pytest.raises(CheckpointError, match="head for 13 features on a CLIP of 12"):
        rewards.load("laion-aesthetic", tmp_path, head=tmp_path / "wide.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 9)
    with pytest.raises(CheckpointError, match=r"junk\.safetensors"):
        rewards.load("laion-aesthetic", tmp_path, head=tmp_path / "junk.safetensors")
    square = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    chain = {f"layers.{n}.{k}": v for n in (0, 1) for k, v in square.items()}
    for weights, message in (
        (square, "ends 2 wide"),
        (chain, r"allowed: \(…, 2\)"),
        ({"w": square["bias"]}, "layers.N"),
    ):
        with pytest.raises(CheckpointError, match=message):
            layers_of(weights)


def test_hpsv2_reads_open_clips_names(tmp_path: Path) -> None:
    model = tiny.clip(tmp_path / "whole", seed=1)
    tiny.clip(tmp_path / "base", seed=2)
    (tmp_path / "base" / "model.safetensors").unlink()
    named = tiny.open_clip_names(model)
    assert set(to_transformers(named)) == set(model.state_dict())
    save_file({f"module.{k}": v for k, v in named.items()}, tmp_path / "base" / "HPS_v2.1_compressed.safetensors")
    whole, base = (rewards.load("hpsv2", tmp_path / f) for f in ("whole", "base"))
    np.testing.assert_allclose(whole(IMAGES, BRIEFS), base(IMAGES, BRIEFS), atol=1e-6)
    assert np.ptp(whole(IMAGES, BRIEFS)) > 1e-4


def test_hpsv2_weights_of_another_kind_are_named(tmp_path: Path) -> None:
    model = tiny.clip(tmp_path)
    torch.save({}, tmp_path / "HPS_v2_compressed.pt")
    with pytest.raises(CheckpointError, match="pickles are not read"):
        rewards.load("hpsv2", tmp_path)
    for weights, message in (({"visual.attnpool.x": torch.zeros(1)}, "attnpool"), ({}, "does not fit")):
        named = tiny.open_clip_names(model) | weights if weights else {"logit_scale": torch.zeros(())}
        save_file(named, tmp_path / "other.safetensors")
        with pytest.raises(CheckpointError, match=message):
            rewards.load("hpsv2", tmp_path, weights=tmp_path / "other.safetensors")


def test_imagereward_is_its_encoders_and_head(tmp_path: Path) -> None:
    vision, text = tiny.image_reward(tmp_path)
    reward = rewards.load("imagereward", tmp_path)
    assert isinstance(reward, ImageReward)
    weights = load_file(tmp_path / "ImageReward.safetensors")
    words = AutoTokenizer.from_pretrained(tmp_path)(
        [b.title for b in BRIEFS], padding="max_length", max_length=35, return_tensors="pt"
    )
    with torch.no_grad():
        patches = vision(pixel_values=reward.processing.pictures(IMAGES)).last_hidden_state
        read = text(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"], encoder_hidden_states=patches
        ).last_hidden_state[:, 0]
    for n in (0, 2, 4):
        read = read @ weights[f"mlp.layers.{n}.weight"].T + weights[f"mlp.layers.{n}.bias"]
    expected = ((read[:, 0] - MEAN) / DEVIATION).clamp(-5, 5)
    np.testing.assert_allclose(reward(IMAGES, BRIEFS), expected, atol=1e-4)


def test_imagereward_without_its_parts(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ImageReward\.safetensors': no such file"):
        rewards.load("imagereward", tmp_path)
    torch.save({}, tmp_path / "ImageReward.pt")
    with pytest.raises(CheckpointError, match="pickles are not read"):
        rewards.load("imagereward", tmp_path)
    tiny.image_reward(tmp_path)
    weights = load_file(tmp_path / "ImageReward.safetensors")
    weights.pop("blip.visual_encoder.norm.bias")
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(CheckpointError, match=r"post_layernorm\.bias"):
        rewards.load("imagereward", tmp_path, weights=tmp_path / "less.safetensors")
