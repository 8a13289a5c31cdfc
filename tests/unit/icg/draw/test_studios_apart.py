"""Low-rank weights for studios alone: they change studios, and not a bit of the grounds of ordinary covers."""

from __future__ import annotations

import copy
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError
from icg.scheduler.engine import StepScheduler
from icg.starter import Starter

from tests.unit.icg.draw.test_studios import USERS, brief, pipeline

__all__ = ["pipeline"]


def ground() -> Brief:
    return replace(brief(user=USERS[1]), inpaint=False, reference_strength=0.88)


@pytest.fixture
def apart(small: Starter, pipeline: CoverPipeline) -> CoverPipeline:
    """`pipeline` draws grounds, and with other low-rank weights studios."""
    old = small.pipeline
    whole = CoverPipeline(old.vlm, old.processor, copy.deepcopy(old.diffusion), old.adapter)
    whole.grounds, whole.studios = pipeline, pipeline.copied()
    whole.studios.family.add_lora(2, everywhere=True)
    with torch.no_grad():
        for name, weight in whole.studios.family.denoiser.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    return whole


def test_studios_change_and_grounds_do_not_by_a_bit(apart: CoverPipeline, pipeline: CoverPipeline) -> None:
    scene, around = apart([brief(user=USERS[0]), ground()])
    before = pipeline([brief(user=USERS[0]), ground()])
    assert around.tobytes() == before[1].tobytes()
    assert scene.tobytes() != before[0].tobytes()
    assert scene.info["place"] == before[0].info["place"]


def test_the_service_draws_the_same_while_both_are_waiting(apart: CoverPipeline) -> None:
    briefs = [brief(user=USERS[0], seed=2), ground(), brief("tower, 1.6 m high")]
    expected = apart(briefs)
    with closing(StepScheduler(apart, [Brief.size])) as scheduler:
        covers = [request.result(60) for request in [scheduler.submit(b) for b in briefs]]
    for cover, other in zip(covers, expected, strict=True):
        assert np.abs(np.asarray(cover, int) - np.asarray(other, int)).max() <= 2


@pytest.fixture
def folder(small_root: Path, apart: CoverPipeline, tmp_path: Path) -> Path:
    root = tmp_path / "checkpoint"
    shutil.copytree(small_root, root)
    assert apart.grounds is not None
    assert apart.studios is not None
    apart.grounds.adapter.save_pretrained(root / "grounds" / "adapter")
    apart.grounds.family.denoiser.save_pretrained(root / "grounds" / "denoiser")
    apart.studios.family.save_lora(root / "grounds" / "studios")
    return root


def test_a_folder_with_weights_for_studios_is_loaded(folder: Path, apart: CoverPipeline) -> None:
    loaded = CoverPipeline.from_pretrained(folder)
    covers = [np.asarray(p([brief(user=USERS[0])])[0], int) for p in (loaded, apart)]
    assert np.abs(covers[0] - covers[1]).mean() < 3, "but for half precision of the files"
    shutil.rmtree(folder / "grounds" / "studios")
    without = CoverPipeline.from_pretrained(folder)
    assert without.studios is None
    assert loaded([ground()])[0].tobytes() == without([ground()])[0].tobytes()


def test_weights_for_another_denoiser_are_named(folder: Path) -> None:
    (folder / "grounds" / "studios" / "pytorch_lora_weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="studios"):
        CoverPipeline.from_pretrained(folder)


def test_trainings_of_the_adapter_draw_without_them(apart: CoverPipeline) -> None:
    assert set(apart.drawers) == {"", "grounds", "studios"}
    assert set(apart.whole().drawers) == {""}
