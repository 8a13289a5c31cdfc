"""The recipe trains networks without some inputs, or of two classes, beside the whole one and on the same scenes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from icg.errors import IcgError
from icg.reliability.config import CAPTION, CUES, DEPTH, PICTURE, VARIANTS
from icg.reliability.judge import Judge
from icg.reliability.scenes.scene_bank import PLANES, SceneBank
from icg.train.loop import Fit
from icg.train.reliability.drawn_scenes import AutoencodedScenes
from icg.train.reliability.rfnet import ScenePart, ablated, network, run

CONFIG = replace(VARIANTS["small"], side=32, width=16, heads=2, fusions=1, words=8, channels=16)


def part(count: int = 12) -> ScenePart:
    """Noise of every class, none through the autoencoder."""
    rng = np.random.default_rng(0)
    planes = {name: rng.integers(0, 256, (count, 32, 32, depth), np.uint8) for name, depth in PLANES.items()}
    label = np.arange(count) % 5
    words = ["small chair"] * count
    bank = SceneBank(
        **planes, label=label, severity=np.zeros(count), geometry=np.zeros((count, 5)), captions=words, titles=words
    )
    none = np.zeros((count, 1), np.float16)
    return ScenePart(bank, AutoencodedScenes(none, none, planes["picture"], label))


@pytest.mark.parametrize(
    ("left_out", "coarse", "name", "cues"),
    [
        ((), False, "", CUES),
        ((DEPTH,), False, "-without-depth", ("product", "picture", "saliency", "caption")),
        ((), True, "-coarse", CUES),
        (("caption", "saliency", "product", "depth"), False, "-without-product-depth-saliency-caption", (PICTURE,)),
    ],
)
def test_each_network_has_files_of_its_own(
    left_out: tuple[str, ...], coarse: bool, name: str, cues: tuple[str, ...]
) -> None:
    called, config = ablated(CONFIG, left_out, coarse)
    assert (called, config.cues, config.coarse) == (name, cues, coarse)


def test_a_plain_network_is_an_encoder_as_large_as_all_of_rfnet() -> None:
    small = VARIANTS["small"]
    name, config = ablated(small, (), False, plain=True)
    networks = [network(of, 0) for of in (small, config, ablated(small, set(CUES) - {PICTURE}, False)[1])]
    whole, *alone = (sum(p.numel() for p in net.parameters()) for net in networks)
    assert alone == pytest.approx([whole, whole], rel=0.02)
    assert name == "-plain"
    assert networks[1].fuse is None
    assert list(networks[1].images) == [PICTURE]
    for left_out, coarse in (((DEPTH,), False), ((), True)):
        with pytest.raises(IcgError, match=f"coarse={coarse}; allowed: plain by itself"):
            ablated(small, left_out, coarse, plain=True)


def test_rows_of_the_table_lie_beside_the_judge_and_leave_it_as_it_is(tmp_path: Path) -> None:
    parts = {name: part() for name in ("train", "valid", "held")}
    fits = Fit(1, 1e-3, 4, 0, 0), Fit(1, 1e-3, 4, 0, 0)
    run(tmp_path, parts, fits, CONFIG)
    whole = (tmp_path / "judge" / "judge.json").read_bytes()
    for left_out, coarse, plain in (((CAPTION,), False, False), ((), True, False), ((), False, True)):
        name, config = ablated(CONFIG, left_out, coarse, plain)
        report = run(tmp_path, parts, fits, config, name)
        assert json.loads((tmp_path / f"report{name}.json").read_text()) == report
    assert (tmp_path / "judge" / "judge.json").read_bytes() == whole
    assert Judge.from_pretrained(tmp_path / "judge-without-caption").rfnet.config.cues == CUES[:-1]
    assert Judge.from_pretrained(tmp_path / "judge-plain").rfnet.fuse is None
    assert not (tmp_path / "judge-coarse").exists(), "it names no class"
    two = json.loads((tmp_path / "report-coarse.json").read_text())["scenes"]["confusion"]
    assert np.shape(two) == (2, 2)
    assert np.sum(two) == 12
