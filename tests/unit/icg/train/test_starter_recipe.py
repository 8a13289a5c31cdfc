"""The recipe: smoke-trains, resumes to the same loss, and its shortcuts equal the full computation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from icg.data.art import procedural
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError
from icg.models import vlm as reading
from icg.train.loop import Fit, rate, train
from icg.train.starter import export, vlm
from icg.train.starter.prefixes import TITLE_ONLY, Prefixes
from icg.train.starter.recipe import Run, smoke
from PIL import Image


def test_resuming_ends_at_the_same_loss(smoke_run: tuple[Run, dict[str, float]], tmp_path) -> None:
    _, straight = smoke_run
    first = Run(tmp_path, smoke(), procedural())
    first.all(until=2)
    resumed = Run(tmp_path, smoke(), procedural()).all()
    assert resumed["loss"] == pytest.approx(straight["loss"], rel=1e-4)
    assert np.isfinite(resumed["loss"])


def test_a_run_leaves_its_config_and_a_starter(smoke_run: tuple[Run, dict[str, float]]) -> None:
    run, _ = smoke_run
    assert json.loads((run.out / "diffusion" / "config.json").read_text())["fit"]["steps"] == 4
    assert json.loads((run.out / "recipe.json").read_text())["covers"] == 48
    assert list((run.out / "diffusion" / "tensorboard").iterdir())
    assert 0 < export.size(run.starter) - export.size(run.starter / "dual") < 5_000_000
    assert not list(run.starter.rglob("*.bin"))


def test_prefixes_equal_reading_the_whole_prompt(smoke_run: tuple[Run, dict[str, float]]) -> None:
    run, _ = smoke_run
    pipeline = CoverPipeline.from_pretrained(run.starter)
    titles, pictures = [s.title for s in run.subjects[:3]], run.references[:3]
    shown = vlm.features(pipeline.vlm, pictures.reshape(-1, 96, 96, 3)).unflatten(0, (3, -1))
    prefixes = Prefixes(pipeline.vlm, pipeline.processor, titles, shown)
    with_title = np.array([True, True, False])
    rows = prefixes.row(np.array([1, 2, 0]), np.array([2, TITLE_ONLY, 1]), with_title)
    meta = pipeline.adapter.meta_tokens.weight
    with torch.no_grad():
        quick = prefixes.read(meta, rows)
        items = (
            (titles[1], (Image.fromarray(pictures[1, 2]),)),
            (titles[2], ()),
            ("", (Image.fromarray(pictures[0, 1]),)),
        )
        for mine, (title, references) in zip(pipeline.adapter.standard(quick), items, strict=True):
            whole = pipeline.adapter.read(pipeline.vlm, reading.inputs(pipeline.processor, title, references))[0]
            assert torch.allclose(mine, whole, atol=5e-2)


def test_every_recipe_records_its_speed(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    model = torch.nn.Linear(256, 256, bias=False)
    loss = {"loss": lambda: model(torch.ones(64, 256)).square().sum()}
    train(tmp_path, model, Fit(30, 0.1, 64), lambda *_: {name: f() for name, f in loss.items()})
    speed = json.loads((tmp_path / "speed.json").read_text())
    assert speed["examples_per_second"] > 0
    assert 0 < speed["of_matmul_ceiling"] <= 1
    assert "examples/s" in capsys.readouterr().err


def test_rate_warms_up_and_cools_down() -> None:
    fit = Fit(steps=100, lr=1.0, batch=1, warmup=10)
    rates = [rate(fit, s) for s in range(100)]
    assert max(rates) == pytest.approx(1, abs=1e-3)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.03


def test_another_models_checkpoint_is_refused(tmp_path) -> None:
    def loss(model: torch.nn.Linear):
        return lambda step, rng: {"loss": model(torch.ones(1, model.in_features)).square().sum()}

    fit = Fit(steps=2, lr=0.1, batch=1)
    for width in (3, 4):
        model = torch.nn.Linear(width, 1)
        if width == 3:
            train(tmp_path, model, fit, loss(model))
        else:
            with pytest.raises(CheckpointError, match="allowed: a new run folder"):
                train(tmp_path, model, fit, loss(model))
