"""A checkpoint from its parts: what does not fit is refused before anything is written, and what is missing is named with its command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from icg.assemble import NEEDED, OPTIONAL, SHARED, assemble, judged
from icg.checkpoints import SHIPPED
from icg.cli import app
from icg.errors import CheckpointError
from icg.settings import FILE, DrawingSettings
from PIL import Image
from typer.testing import CliRunner

from tests.unit.icg.test_check import diffusions, root

__all__ = ["diffusions", "root"]
PARTS = ("vlm", "diffusion", "adapter")


def parts(root: Path) -> dict[str, Path]:
    return {name: root / name for name in PARTS}


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(count)]


def test_the_parts_become_a_checkpoint_that_says_what_it_lacks(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    settings = DrawingSettings(size=(64, 96), steps=20, dtype="bfloat16")
    report, pieces = assemble(out, parts(root), settings)
    assert report.size == (64, 96)
    assert DrawingSettings.read(out) == settings
    assert (out / "vlm").is_symlink()
    assert {p.name for p in pieces if p.present} == {*PARTS, *SHARED}
    assert all(p.without and p.command for p in pieces if not p.present)
    _, again = assemble(out, {}, settings, pictures(20))
    assert {p.name for p in again if p.present} == {*PARTS, *SHARED, "domain"}
    assert judged(out)[1] == again


def test_copies_do_not_need_their_sources(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    assemble(out, parts(root), DrawingSettings(size=(64, 64)), copy=True)
    for name in PARTS:
        shutil.rmtree(root / name)
    assert judged(out)[0].size == (64, 64)


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_part_is_named_with_the_command_that_makes_it(root: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "mine"
    assemble(out, parts(root), DrawingSettings(size=(64, 64)), copy=True)
    shutil.rmtree(out / name)
    with pytest.raises(CheckpointError, match=f"{name}/ is missing; make it: ") as refused:
        judged(out)
    assert NEEDED[name] in str(refused.value)
    answer = CliRunner().invoke(app, ["check", str(out), "--json"])
    assert answer.exit_code == 1
    assert name in json.loads(answer.output)["error"]


def test_what_does_not_fit_is_refused_before_anything_is_written(root: Path, diffusions: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    for named, message in (
        (parts(root) | {"diffusion": diffusions / "flux"}, "allowed"),
        (parts(root) | {"space": root / "nothing"}, "space=.*no such folder; make it: icg space fit"),
        (parts(root) | {"colours": root / "vlm"}, "part='colours'; allowed: vlm"),
        ({"vlm": root / "vlm", "diffusion": root / "diffusion"}, "adapter= is missing; make it: icg train connector"),
    ):
        with pytest.raises(CheckpointError, match=message):
            assemble(out, named, DrawingSettings(size=(64, 64)))
        assert not out.exists()


def test_parts_that_are_there_must_be_whole(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    assemble(out, parts(root), DrawingSettings(size=(64, 64)), copy=True)
    for name in ("users", "domain", "space", "controlnet"):
        (out / name).mkdir()
        (out / name / "model.bin").write_bytes(b"pickle")
        with pytest.raises(CheckpointError, match=name):
            judged(out)
        shutil.rmtree(out / name)
    shutil.copytree(SHIPPED / "users", out / "users")
    assert {p.name: p.present for p in judged(out)[1]}["users"]
    (out / FILE).write_text('{"size": [50, 50]}')
    with pytest.raises(CheckpointError, match="multiples of 16"):
        judged(out)


def test_the_command_walks_it(root: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "mine", CliRunner()
    named = [word for name in PARTS for word in (f"--{name}", str(root / name))]
    first = run.invoke(
        app, ["assemble", str(out), *named, "--size", "64x96, 64x64", "--steps", "12", "--negative", "dark"]
    )
    assert first.exit_code == 0, first.output
    assert "eyecatch serve --checkpoint" in first.output
    assert "icg space fit" in first.output
    second = run.invoke(app, ["assemble", str(out), "--guidance", "6", "--json"])
    assert second.exit_code == 0, second.output
    assert set(json.loads(second.output)) == {*NEEDED, *OPTIONAL}
    assert DrawingSettings.read(out) == DrawingSettings((64, 96), ((64, 64),), 12, 6.0, "dark")
    whole = run.invoke(app, ["check", str(out)])
    assert whole.exit_code == 0, whole.output
    assert "They fit." in whole.output
    bad = run.invoke(app, ["assemble", str(out), "--size", "large"])
    assert bad.exit_code == 1
    assert "WIDTHxHEIGHT" in bad.output
