"""The recipe of grounds, tiny: a starter with what it writes draws grounds, also in 8 bits, and it goes on where it stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from icg.adapter.model import IcgAdapter
from icg.brief import Brief
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
    assert np.isfinite([first[part] for part in ("loss", "drafted", "refined", "taste")]).all()
    grounds, root = tmp_path / "run" / "starter" / "grounds", tmp_path / "starter"
    config = IcgAdapter.from_pretrained(grounds / "adapter").config
    assert (config.grounds, config.drafts) == (128, 64)
    shutil.copytree(small_root, root)
    shutil.copytree(grounds, root / "grounds")
    pipeline = CoverPipeline.from_pretrained(root)
    assert pipeline.grounds is not None
    placement = pipeline.grounds.adapter.placement
    assert placement is not None
    assert placement.places.abs().sum() > 0, "fitted"
    picture = pipeline([Brief("any", ground=True, steps=2, size=(128, 128), user_embedding=np.eye(64, dtype="f")[0])])[
        0
    ]
    assert np.asarray(picture).std() > 0
    written = (grounds / "adapter" / "model.safetensors").stat().st_mtime_ns
    main(arguments)
    assert (grounds / "adapter" / "model.safetensors").stat().st_mtime_ns == written, (
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
