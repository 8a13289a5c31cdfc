"""The ControlNet learns scenes without the product: its targets hold none, and training lowers the loss on them."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from icg.data.art import Subject, procedural
from icg.data.sizes import SIZES
from icg.draw.pipeline import CoverPipeline
from icg.reliability.scenes.scenes import Scenes
from icg.starter import Starter
from icg.train.loop import Fit
from icg.train.reliability.controlnet import BareScenes, loss_of, run

from tests.unit.icg.models.test_families import covers_of
from tests.unit.icg.products.test_inpainting import controlled

TITLES = [title for sizes in SIZES.values() for title in sizes]


def subjects() -> list[Subject]:
    return [replace(shape, title=title) for title, shape in zip(TITLES, cycle(procedural(12)))]


def test_a_bare_scene_is_the_scene_without_the_product_and_its_shadow() -> None:
    for scene in Scenes(subjects(), available=1.0, side=64, studios=1.0).stream(3, 6):
        picture, bare = (np.asarray(image, int) for image in (scene.picture, scene.bare))
        covered = np.asarray(scene.placed.getchannel("A")) > 0
        changed = np.abs(picture - bare).max(-1) > 12
        assert picture.shape == (64, 64, 3)
        assert changed[covered].mean() > 0.5, "the product is in one of them"
        rows = np.flatnonzero(covered.any(1))
        assert not changed[: max(0, rows[0] - 2)].any(), "and nothing else differs above it"


def error(pipeline: CoverPipeline, scenes: BareScenes) -> float:
    torch.manual_seed(5)
    rows = np.arange(len(scenes))
    with torch.no_grad():
        return float(loss_of(pipeline, pipeline.inpainter, scenes, rows, rows % 7 == 0))  # type: ignore[arg-type]


def test_scenes_are_learned(small: Starter, tmp_path: Path) -> None:
    pipeline = controlled(covers_of(small, "sana"))
    assert pipeline.inpainter is not None
    source = Scenes(subjects(), available=1.0, side=64, studios=1.0)
    scenes = BareScenes.draw(source, 0, 20, pipeline.inpainter, pipeline)
    assert len(scenes) == len(scenes.captions) == 20
    assert scenes.latents.shape == scenes.hints.shape
    assert 0 < float(scenes.covered.mean()) < 0.5
    frozen = {name: p.clone() for name, p in pipeline.family.denoiser.named_parameters()}
    before = error(pipeline, scenes)
    run(tmp_path / "run", pipeline, scenes, Fit(60, 3e-3, 8, warmup=5))
    assert error(pipeline, scenes) < 0.9 * before
    assert all(torch.equal(p, frozen[name]) for name, p in pipeline.family.denoiser.named_parameters())
