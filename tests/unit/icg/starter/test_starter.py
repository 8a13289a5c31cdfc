"""The shipped starter: small, safe, and its covers depend on titles and users."""

from __future__ import annotations

import subprocess
import sys

import icg
import numpy as np
import pytest
from icg import starter
from icg.brief import Brief
from icg.data import compose
from icg.data.art import procedural
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError
from icg.users.histories import user_embedding


@pytest.fixture(scope="module")
def shipped() -> starter.Starter:
    return starter.load()


TASTES = {
    "night": compose.Look("ink", "night", "dots", "medium"),
    "lemon": compose.Look("painted", "lemon", "sunburst", "close"),
}


def liked(look: compose.Look) -> list:
    return [compose.compose(s.sprites[look.style], look, i) for i, s in enumerate(procedural(8))]


def test_only_safetensors_and_at_most_55_mb() -> None:
    files = [p for p in starter.path().rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files if p.suffix == ".safetensors") <= 55_000_000
    assert not [p for p in files if p.suffix in {".bin", ".pt", ".pkl", ".ckpt", ".npz"}]
    assert "CC-BY" in (starter.path() / "README.md").read_text()
    assert not [p for p in files if p.suffix == ".json" and '"_name_or_path": "/' in p.read_text()]


def test_titles_give_different_pictures(shipped: starter.Starter) -> None:
    titles = ["sunflower", "octopus", "rocket", "pizza"]
    images = shipped.pipeline([Brief(t, seed=3, steps=6) for t in titles])
    flat = np.stack([np.asarray(i, float) for i in images])
    assert min(np.abs(flat[i] - flat[j]).mean() for i in range(4) for j in range(i)) > 8


def test_users_get_their_colours(shipped: starter.Starter) -> None:
    covers = {name: shipped.embedding.covers(liked(look)) for name, look in TASTES.items()}
    users = {p: user_embedding(rows, np.ones(len(rows))) for p, rows in covers.items()}
    titles = ["panda", "rocket", "cactus", "pizza", "fox", "crown"]
    mean = {}
    for palette, user in users.items():
        drawings = shipped.pipeline([Brief(t, user_embedding=user, seed=i) for i, t in enumerate(titles)])
        mean[palette] = np.mean([np.asarray(m, float).mean((0, 1)) for m in drawings], 0)
        other = users["lemon" if palette == "night" else "night"]
        embedded = shipped.embedding.covers(drawings)
        assert (embedded @ user).mean() > (embedded @ other).mean()
    assert mean["lemon"].sum() > mean["night"].sum() + 60


def test_a_folder_without_checkpoints_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="adapter"):
        starter.load(tmp_path)


def test_the_three_main_names_are_at_the_top() -> None:
    assert icg.CoverPipeline is CoverPipeline
    assert {icg.Brief.__name__, icg.IcgAdapter.__name__} == {"Brief", "IcgAdapter"}
    with pytest.raises(AttributeError, match="Nothing"):
        icg.Nothing  # noqa: B018


def test_importing_icg_brings_no_torch() -> None:
    code = "import sys, icg, icg.brief, icg.errors, icg.users.histories, icg.starter; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
