"""The recipe of grounds, tiny: what it writes is a starter that draws grounds, and an item alone stays what it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from icg.adapter.model import IcgAdapter
from icg.checkpoints import SHIPPED, SPACE
from icg.draw.pipeline import CoverPipeline
from icg.train.starter.grounds import main, move

pytestmark = pytest.mark.long


def test_a_starter_learns_grounds_and_goes_on_where_it_stopped(
    tmp_path: Path, small_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--smoke",
        "--out",
        str(tmp_path / "run"),
        "--space",
        str(SHIPPED / SPACE),
        "--starter",
        str(small_root),
    ]
    main(arguments)
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert np.isfinite([first[part] for part in ("loss", "drafted", "refined", "covers")]).all()
    finished = tmp_path / "run" / "starter"
    config = IcgAdapter.from_pretrained(finished / "adapter").config
    assert (config.grounds, config.drafts) == (128, 64)
    shutil.copytree(small_root / "vlm", finished / "vlm")
    pipeline = CoverPipeline.from_pretrained(finished)
    assert pipeline.adapter.placement is not None
    assert pipeline.adapter.placement.places.abs().sum() > 0, "fitted"
    written = (finished / "adapter" / "model.safetensors").stat().st_mtime_ns
    main(arguments)
    assert (finished / "adapter" / "model.safetensors").stat().st_mtime_ns == written, (
        "a finished run is not trained again"
    )


def test_users_of_another_space_begin_where_the_linear_map_puts_them(small_root: Path) -> None:
    adapter = IcgAdapter.from_pretrained(small_root / "adapter")
    first = adapter.refiner.spread[0]
    before, rows = first.weight.detach().numpy().copy(), np.random.default_rng(0).standard_normal((400, 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    turned = np.roll(rows, 1, axis=1)
    move(adapter, rows, turned)
    moved = turned @ first.weight.detach().numpy().T
    expected = rows @ before.T
    assert np.corrcoef(moved.ravel(), expected.ravel())[0, 1] > 0.99
