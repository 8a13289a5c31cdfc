"""The contract of every reward, tested for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.errors import CheckpointError, IcgError
from icg.rewards.base import Reward, TensorReward
from icg.rewards.small_aesthetic import AestheticHead
from icg.starter import rewards
from PIL import Image

from tests.unit.icg import tiny_judges as tiny

USER = np.full(64, 0.125, np.float32)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


STRANGE = [
    Image.new("L", (1, 1), 7),
    noise(30, 1000),
    noise(1000, 30),
    Image.new("L", (40, 40), 200),
    Image.new("RGBA", (3, 3), (200, 10, 10, 4)),
    Image.new("RGB", (96, 96)),
    Image.new("P", (17, 5)),
    Image.new("1", (64, 64)),
    noise(96, 96, 1),
]
BRIEFS = [Brief(f"Red kettle {i}", user_embedding=USER if i % 2 else None) for i in range(len(STRANGE))]


@dataclass(frozen=True)
class Case:
    """How a test builds one entry of the registry; `side`: of its model's input; `tensor`: whether it is differentiable."""

    build: Callable[[Path], Any]
    reward: str
    side: int = tiny.SIDE
    tensor: bool = True
    options: dict[str, Any] = field(default_factory=dict)


def head(folder: Path) -> None:
    torch.manual_seed(0)
    AestheticHead().save_pretrained(folder)


def laion(folder: Path) -> None:
    tiny.clip(folder)
    tiny.laion_head(folder / "aesthetic.safetensors")


CASES = {
    "relevance": Case(lambda folder: None, "relevance", 128),
    "preference": Case(lambda folder: None, "preference", 128),
    "aesthetic": Case(head, "aesthetic", 128),
    "laion-aesthetic": Case(laion, "aesthetic"),
    "clip": Case(tiny.clip, "relevance"),
    "siglip": Case(tiny.siglip, "relevance"),
    "pickscore": Case(tiny.clip, "pickscore"),
    "hpsv2": Case(tiny.clip, "hpsv2"),
    "imagereward": Case(tiny.image_reward, "imagereward"),
    "safety": Case(lambda folder: tiny.classifier(folder, "normal", "nsfw"), "safety", tensor=False),
}
TENSORS = [name for name, case in CASES.items() if case.tensor]


@pytest.fixture(scope="module")
def load_reward(small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """name -> reward, made once."""
    cache: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in cache:
            folder = small_root
            if name not in ("relevance", "preference"):
                folder = tmp_path_factory.mktemp(name)
                CASES[name].build(folder)
            cache[name] = rewards.load(name.replace("siglip", "clip"), folder, **CASES[name].options)
        return cache[name]

    return make


def test_every_reward_is_on_the_list() -> None:
    elsewhere = {
        "opennsfw",
        "reliability",
        "engagement",
    }  # test_rewards_safety, reliability/test_judge, design/test_engagement
    assert set(rewards.REWARDS) - elsewhere == set(CASES) - {"siglip"}
    page = (Path(__file__).parents[4] / "docs" / "rewards.md").read_text()
    assert [name for name in rewards.REWARDS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", CASES)
def test_any_picture_gets_a_number_within_the_range(load_reward: Callable[[str], Any], name: str) -> None:
    reward = load_reward(name)
    assert isinstance(reward, Reward)
    assert reward.name == CASES[name].reward
    low, high = reward.range
    assert low < high
    values = reward(STRANGE, BRIEFS)
    assert (values.dtype, values.shape) == (np.float32, (len(STRANGE),))
    assert np.isfinite(values).all()
    assert ((values >= low) & (values <= high)).all()
    assert reward([], []).shape == (0,)
    assert reward([], []).dtype == np.float32
    with pytest.raises(IcgError, match="images=9 with briefs=1; allowed"):
        reward(STRANGE, BRIEFS[:1])


@pytest.mark.parametrize("name", CASES)
def test_scores_of_a_batch_equal_single_scores(
    load_reward: Callable[[str], Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = load_reward(name)
    together = reward(STRANGE, BRIEFS)
    alone = np.concatenate([reward([i], [b]) for i, b in zip(STRANGE, BRIEFS, strict=True)])
    np.testing.assert_allclose(together, alone, atol=2e-5 * (reward.range[1] - reward.range[0]))
    monkeypatch.setattr("icg.rewards.base.BATCH", 4)
    np.testing.assert_allclose(reward(STRANGE, BRIEFS), together, atol=2e-5 * (reward.range[1] - reward.range[0]))


@pytest.mark.parametrize("name", CASES)
def test_the_device_is_checked(load_reward: Callable[[str], Any], name: str, small_root: Path, tmp_path: Path) -> None:
    folder = small_root if name in ("relevance", "preference") else tmp_path
    CASES[name].build(folder)
    with pytest.raises(IcgError, match="device='warp'; allowed: cpu or"):
        rewards.load(name.replace("siglip", "clip"), folder, "warp")
    on_cpu = rewards.load(name.replace("siglip", "clip"), folder, "cpu")
    np.testing.assert_allclose(on_cpu(STRANGE, BRIEFS), load_reward(name)(STRANGE, BRIEFS), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_scores_on_a_gpu_equal_those_on_the_cpu(
    load_reward: Callable[[str], Any], name: str, small_root: Path, tmp_path: Path
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    folder = small_root if name in ("relevance", "preference") else tmp_path
    CASES[name].build(folder)
    on_gpu = rewards.load(name.replace("siglip", "clip"), folder, "cuda")
    np.testing.assert_allclose(on_gpu(STRANGE, BRIEFS), load_reward(name)(STRANGE, BRIEFS), atol=1e-2)


def as_tensor(images: list[Image.Image]) -> torch.Tensor:
    rows = torch.from_numpy(np.stack([np.asarray(i.convert("RGB")) for i in images]))
    return (rows.permute(0, 3, 1, 2).float() / 127.5 - 1).requires_grad_()


@pytest.mark.parametrize("name", TENSORS)
def test_scores_of_tensors_equal_those_of_pictures(load_reward: Callable[[str], Any], name: str) -> None:
    reward, side = load_reward(name), CASES[name].side
    wide = reward.range[1] - reward.range[0]
    soft = noise(6, 5, 3)
    for size, near in (((side, side), 2e-6), ((120, 90), 8e-3), ((20, 31), 8e-3)):
        images = [noise(*size, 1), soft.resize(size, Image.Resampling.BICUBIC), Image.new("RGB", size, (250, 20, 90))]
        pixels = as_tensor(images)
        values = reward.tensor(pixels, BRIEFS[:3])
        expected = reward(images, BRIEFS[:3])
        clipped = values.detach().clamp(*reward.range).numpy()
        np.testing.assert_allclose(clipped, expected, atol=near * wide)
        assert values.shape == (3,)


@pytest.mark.parametrize("name", TENSORS)
def test_gradients_reach_the_pixels_and_nothing_else(
    load_reward: Callable[[str], Any], name: str, small_root: Path
) -> None:
    reward, side = load_reward(name), CASES[name].side
    assert isinstance(reward, TensorReward)
    briefs = [Brief("kettle", user_embedding=USER)] * 4
    flat = [Image.new("RGB", (side, side), c) for c in ("black", "white", "grey")]
    pixels = as_tensor([noise(side, side), *flat])
    reward.tensor(pixels, briefs).sum().backward()
    assert torch.isfinite(pixels.grad).all()
    if name != "aesthetic":  # this head has random weights; test_aesthetic tests the shipped one
        assert pixels.grad[0].abs().max() > 0
    held = getattr(reward, "judge", None) or getattr(reward, "clip", None) or reward
    modules = [v for v in vars(held).values() if isinstance(v, torch.nn.Module)]
    modules += [held.embedding.space, held.embedding.dual] if hasattr(held, "embedding") else []
    assert modules
    assert all(p.grad is None for m in modules for p in m.parameters())


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_other_shapes_are_refused(load_reward: Callable[[str], Any], name: str) -> None:
    for bad in (torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(IcgError, match=r"allowed: floating \(B, 3, H, W\)"):
            load_reward(name).tensor(bad, BRIEFS[:1])
    with pytest.raises(IcgError, match="images=2 with briefs=1"):
        load_reward(name).tensor(torch.zeros(2, 3, 8, 8), BRIEFS[:1])


def test_a_user_of_another_width_is_named(load_reward: Callable[[str], Any]) -> None:
    with pytest.raises(IcgError, match=r"user_embedding of shape \(3,\); allowed: \(64,\)"):
        load_reward("preference")(STRANGE[:1], [Brief("x", user_embedding=np.ones(3))])


def test_unknown_names_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IcgError, match="reward='beauty'; allowed: relevance, preference, aesthetic"):
        rewards.load("beauty")
    for name, source in rewards.REWARDS.items():
        if source.folder:
            with pytest.raises(CheckpointError, match=r"allowed|found"):
                rewards.load(name, tmp_path / "nowhere")
        if source.folder and source.default is None:
            with pytest.raises(IcgError, match="folder=None"):
                rewards.load(name)
    with pytest.raises(IcgError, match="folder='x' for 'opennsfw'; allowed: nothing"):
        rewards.load("opennsfw", "x")
