"""The road of docs/checkpoints.md, walked: from a running service's state to covers of a checkpoint of one's own, of every architecture.

Models are tiny and random: what is tested is that every step takes what the one before it wrote.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from eyecatch.client import connect
from eyecatch.v1 import catalog_pb2, covers_pb2, types_pb2
from icg.provenance import read
from PIL import Image

from tests import triton
from tests.e2e.conftest import run, run_json, serving
from tests.unit.icg import tiny, tiny_vlm

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:FutureWarning")]
FAMILIES = ("sd15", "sdxl", "sd3", "flux", "sana")
SIZE, OTHER = (96, 64), (64, 64)


def icg(*arguments: object) -> str:
    """The `icg` command; its output."""
    command = [sys.executable, "-c", "from icg.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the sample's state, and a cover space fitted on them."""
    out = tmp_path_factory.mktemp("shop")
    assert run_json("export", "behaviour", "--out", str(out), "--data-dir", str(imported))["events"] > 900
    assert run_json("export", "catalogue", "--out", str(out), "--data-dir", str(imported))["covers"] > 200
    # Alignment asks for more users than the sample has: the same ones live twice.
    events = pl.read_parquet(out / "events.parquet")
    pl.concat([events, events.with_columns(pl.col("user_id") + "-twin")]).write_parquet(out / "events.parquet")
    report = json.loads(icg("space", "fit", "--data", out, "--out", out / "space", "--seeds", 1).splitlines()[-1])
    assert report
    return out


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    tiny.diffusion(request.param).save_pretrained(root / "diffusion")
    vlm = tiny_vlm.save("qwen2_5_vl", root / "vlm")
    models = ("--vlm", vlm, "--diffusion", root / "diffusion")
    short = ("--steps", 4, "--batch", 2, "--tokens", 5, "--layers", 1, "--pixels", 64 * 64)
    icg("train", "connector", *models, "--data", shop, "--out", root / "run", *short)
    settings = ("--size", "96x64,64x64", "--steps", 3, "--guidance", 2.5, "--negative", "dark", "--dtype", "float32")
    out, parts = root / "mine", ("--adapter", root / "run" / "adapter", "--space", shop / "space")
    assert "eyecatch serve --checkpoint" in icg("assemble", out, *models, *parts, "--catalogue", shop, *settings)
    aligning = ("--device", "cpu", "--steps", 2, "--batch", 2, "--watched", 4, "--go-on", "--checkpointing")
    icg("train", "alignment", "--data", shop, "--checkpoint", out, "--out", root / "aligned", *aligning)
    icg("assemble", out, "--adapter", root / "aligned" / "adapter")
    report = json.loads(icg("check", out, "--json"))
    assert report["fits"]
    assert "domain" not in report["missing"]
    return out


@pytest.fixture(scope="module")
def state(imported: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's state, its covers embedded in the checkpoint's space."""
    folder = Path(shutil.copytree(imported, tmp_path_factory.mktemp("state") / "data"))
    command = [sys.executable, "-m", "eyecatch.cli", "items", "reembed", "--data-dir", str(folder)]
    environment = os.environ | {"EYECATCH_CHECKPOINT": str(checkpoint)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def cover_of(address: str, **fields: object) -> tuple[Image.Image, dict[str, object]]:
    """A cover of a title that has no picture, so that all of it is drawn."""
    with connect(address) as client:
        request = covers_pb2.GenerateCoversRequest(item_id="new", user_id="mia", seed=3, **fields)  # type: ignore[arg-type]
        cover = list(client.covers.GenerateCovers(request, timeout=300))[-1].cover
    return Image.open(io.BytesIO(cover.image)), read(cover.image)


def walk(address: str, name: str) -> None:
    with connect(address) as client:
        item = types_pb2.Item(id="new", title="A lamp")
        client.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item]), timeout=60)
    picture, stated = cover_of(address)
    assert (picture.size, stated["model"], stated["steps"]) == (SIZE, name, 3)
    other, stated = cover_of(address, size=types_pb2.Size(width=OTHER[0], height=OTHER[1]), steps=2)
    assert (other.size, stated["steps"]) == (OTHER, 2)
    assert picture.getextrema() != ((0, 0),) * 3


def test_it_is_served_by_one_process(state: Path, checkpoint: Path) -> None:
    with serving(state, "--checkpoint", str(checkpoint), "--device", "cpu") as (address, _):
        walk(address, checkpoint.name)
        answer = run_json("recommend", "fox", "owl", "--user", "mia", "--server", address)
        assert len(answer["items"]) == 2
        refused = run("draw", "fox", "--size", "128x128", "--server", address, check=False)
        assert refused.returncode != 0
        assert "size" in refused.stderr


def test_it_is_served_through_triton(state: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYECATCH_CHECKPOINT", str(checkpoint))
    with (
        triton.running() as server,
        serving(state, "--checkpoint", str(checkpoint), "--triton", server.ready().address) as (address, _),
    ):
        walk(address, checkpoint.name)
