"""A checkpoint with a denoiser of its own for grounds: it draws what surrounds the item's picture, and nothing else."""

from __future__ import annotations

import copy
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.draw import ask
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError
from icg.scheduler.engine import StepScheduler
from icg.settings import DrawingSettings
from icg.starter import Starter
from PIL import Image

from tests.unit.icg.draw.test_grounds import USERS, brief, disc, pipeline
from tests.unit.icg.test_pictures import encoded

__all__ = ["pipeline"]
TITLE = Brief("teal disc", user_embedding=USERS[0], seed=3, steps=2, size=(64, 64))


@pytest.fixture
def apart(small: Starter, pipeline: CoverPipeline) -> CoverPipeline:
    """The random small pipeline, beside `pipeline` for grounds, whose denoiser has other weights."""
    with torch.no_grad():
        for parameter in pipeline.family.denoiser.parameters():
            parameter.mul_(1.2)
    old = small.pipeline
    whole = CoverPipeline(old.vlm, old.processor, copy.deepcopy(old.diffusion), old.adapter)
    whole.grounds = pipeline
    return whole


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.tobytes() == other.tobytes()


def test_grounds_are_drawn_by_the_one_and_covers_from_titles_by_the_other(
    small: Starter, pipeline: CoverPipeline, apart: CoverPipeline
) -> None:
    around, title = apart([brief(USERS[0]), TITLE])
    assert same(around, pipeline([brief(USERS[0])])[0])
    assert same(title, small.pipeline([TITLE])[0])
    assert not same(title, pipeline([TITLE])[0]), "another denoiser draws another cover"


def test_the_service_draws_the_same_while_both_are_waiting(apart: CoverPipeline) -> None:
    expected = apart([brief(USERS[0]), TITLE, brief(USERS[1])])
    with closing(StepScheduler(apart, [Brief.size, (64, 64)])) as scheduler:
        requests = [scheduler.submit(b) for b in (brief(USERS[0]), TITLE, brief(USERS[1]))]
        covers = [request.result(60) for request in requests]
    for cover, other in zip(covers, expected, strict=True):
        assert np.abs(np.asarray(cover, int) - np.asarray(other, int)).max() <= 2


def test_a_scene_around_a_product_is_drawn_as_a_title_is(apart: CoverPipeline) -> None:
    scene = Brief("teal disc", product=disc(), inpaint=True, size=(64, 64))
    assert apart.prepared(scene) == scene


def test_trainings_of_the_adapter_draw_all_covers_with_it(apart: CoverPipeline) -> None:
    whole = apart.whole()
    assert whole.grounds is None
    assert apart.grounds is not None
    assert not whole.prepared(brief(USERS[0])).ground


def test_a_checkpoint_says_how_many_steps_a_ground_takes() -> None:
    settings = DrawingSettings(steps=9, ground_steps=4)
    data = encoded(disc())
    assert ask.brief("teal disc", [data], settings=settings).steps == 4
    assert ask.brief("teal disc", [data], settings=settings, steps=7).steps == 7
    assert ask.brief("teal disc", [data], reference_strength=0, settings=settings).steps == 9
    assert ask.brief("teal disc", settings=settings).steps == 9


@pytest.fixture
def folder(small_root: Path, apart: CoverPipeline, tmp_path: Path) -> Path:
    root = tmp_path / "checkpoint"
    shutil.copytree(small_root, root)
    assert apart.grounds is not None
    apart.grounds.adapter.save_pretrained(root / "grounds" / "adapter")
    apart.grounds.family.denoiser.save_pretrained(root / "grounds" / "denoiser")
    return root


def test_a_folder_with_grounds_is_loaded(folder: Path, apart: CoverPipeline) -> None:
    loaded = CoverPipeline.from_pretrained(folder)
    assert loaded.grounds is not None
    assert isinstance(loaded.grounds.adapter, IcgAdapter)
    assert loaded.grounds.diffusion.vae is loaded.diffusion.vae, "the autoencoder is shared"
    covers = [np.asarray(p([brief(USERS[0])])[0], int) for p in (loaded, apart)]
    assert np.abs(covers[0] - covers[1]).mean() < 3, "but for half precision of the files"


def test_a_denoiser_that_does_not_load_is_named(folder: Path) -> None:
    (folder / "grounds" / "denoiser" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="grounds"):
        CoverPipeline.from_pretrained(folder)
