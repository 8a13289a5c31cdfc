"""The recipe on RF1M reads archives, trains, and is tested on other products."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from icg.errors import CheckpointError, IcgError
from icg.reliability.config import VARIANTS
from icg.reliability.cues import SmallCues
from icg.reliability.rfnet import RFNet
from icg.train.loop import Fit, rate
from icg.train.reliability.rf1m import SPLITS, PackedExamples, run

from tests.unit.icg.reliability.archive_files import data_set, image, only

CONFIG = replace(VARIANTS["small"], side=32, width=16, fusions=1)


def packed(folder: Path, split: str = "train", count: int = 60, side: int = 32) -> PackedExamples:
    folder.mkdir(exist_ok=True)
    data = data_set(folder / "data", count=count)
    return PackedExamples.pack(folder / split, data.read(split), SmallCues((8, 16)).eval(), side)


def test_examples_with_a_cut_out_are_packed_once(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", count=60)
    packed = PackedExamples.pack(tmp_path / "train", data.read("train"), SmallCues((8, 16)).eval(), 32)
    expected = [e for e in data.read("train") if e.product is not None]
    assert packed.label.tolist() == [int(e.label) for e in expected]
    assert len(set(packed.label.tolist())) == 5
    net = RFNet.build(CONFIG)
    cues, labels = packed.batch(np.array([0, 3]), net)
    assert cues.picture is not None
    shown = np.asarray(expected[3].picture.resize((32, 32)), np.float32)
    assert np.abs((cues.picture[1].permute(1, 2, 0).numpy() + 1) * 127.5 - shown).mean() < 12
    assert labels.tolist() == [int(expected[0].label), int(expected[3].label)]
    again = PackedExamples.pack(tmp_path / "train", [], SmallCues((8, 16)).eval(), 32)
    assert np.array_equal(again.planes["depth"], packed.planes["depth"])
    with pytest.raises(CheckpointError, match="of another size"):
        PackedExamples.pack(tmp_path / "train", [], SmallCues((8, 16)).eval(), 48)


def test_data_without_cut_outs_is_named(tmp_path: Path) -> None:
    data = only(tmp_path, {"a.png": image(1)}, "a.png\tAvailable\n")
    with pytest.raises(IcgError, match="no picture with a cut-out"):
        PackedExamples.pack(tmp_path / "all", data.read(), SmallCues((8, 16)).eval(), 32)


def test_it_trains_and_is_judged_on_other_products(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parts = {split: packed(tmp_path / split, split, 240) for split in SPLITS}
    net = RFNet.build(CONFIG)
    before = net.leave.weight.detach().clone()
    result = run(tmp_path, net, parts, Fit(6, 1e-3, 8, 0, 0, halfway=True))
    assert result.confusion.sum() == len(parts["test"].label) > 0
    assert 0 <= result.f1 <= 1
    assert not torch.equal(before, net.leave.weight)
    assert RFNet.from_pretrained(tmp_path / "rfnet").config == CONFIG
    assert (tmp_path / "rfnet" / "settled.json").exists()


def test_the_papers_rate_is_a_tenth_from_half_way() -> None:
    fit = Fit(10, 1e-4, 8, 0, 0, halfway=True)
    assert [rate(fit, step) for step in (0, 4, 5, 9)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])
