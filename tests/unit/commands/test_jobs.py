"""Jobs over a whole catalogue as an operator runs them: evaluation beside a store in use, and covers for taste clusters."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from eyecatch.cli import app
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.core.types import Cover, Origin
from eyecatch.encoders.learned import user_encoder
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep.clusters import note
from icg.starter import path
from typer.testing import CliRunner

from tests.contracts.builders import unit
from tests.e2e.conftest import SAMPLE, run
from tests.unit.evaluate import test_policy, test_recall


@pytest.fixture
def in_use(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose store is open, as a server holds it: of users with tastes, and of decisions about them. SIMULATED."""
    stores = [
        asyncio.run(test_policy.world(tmp_path / "policy")),
        asyncio.run(test_recall.world(tmp_path / "recall", loyal=True)),
    ]
    yield tmp_path
    for store in stores:
        store.close()


def test_policies_are_estimated_while_a_server_uses_the_store(in_use: Path, tmp_path: Path) -> None:
    printed = run("evaluate", "policy", "--out", str(tmp_path / "out"), "--data-dir", str(in_use / "policy")).stdout
    summary = json.loads(printed.splitlines()[-1])
    assert summary["rows"] == test_policy.USERS * test_policy.SHOWN * 3
    assert summary["profile"] > summary["uniform"] > 0
    figures = json.loads((tmp_path / "out" / "policy.json").read_text())
    assert round(figures["policies"]["profile"]["snips"]["mean"], 4) == summary["profile"]


def test_recall_is_measured_while_a_server_uses_the_store(in_use: Path, tmp_path: Path) -> None:
    where = ("--data-dir", str(in_use / "recall"))
    figures = json.loads(
        run("evaluate", "recall", "--k", "20", "--json", "--out", str(tmp_path / "out"), *where).stdout
    )
    assert figures["users"] == test_recall.USERS
    profile = figures["rankings"]["profile"]["figures"]["recall@20"]
    assert profile["low"] > figures["rankings"]["shuffled"]["figures"]["recall@20"]["high"]
    assert json.loads((tmp_path / "out" / "recall.json").read_text()) == figures
    assert (tmp_path / "out" / "report.html").is_file()


async def generated_covers(folder: Path) -> list[Cover]:
    store = SqliteStore.open(folder)
    covers = [c async for c in store.catalog.all_covers() if c.provenance.origin is Origin.GENERATED]
    store.close()
    return covers


async def fit_by_hand(folder: Path) -> None:
    """Three taste clusters, of which the second is the smallest."""
    encoder = user_encoder(path())
    centroids, shares = np.stack([unit(n) for n in range(3)]), np.array([0.5, 0.1, 0.4], np.float32)
    clusters = TasteClusters(centroids, shares, 1, encoder.version, drift=np.zeros(3, np.float32))
    store = SqliteStore.open(folder)
    assert await store.notes.replace(note(encoder), None, clusters.to_bytes())
    store.close()


@pytest.mark.long
def test_covers_are_drawn_for_the_largest_clusters_and_only_once(tmp_path: Path) -> None:
    lines = (SAMPLE / "items.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "items.csv").write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    folder = tmp_path / "data"
    where = ("--data-dir", str(folder))
    run("import", "items", str(tmp_path / "items.csv"), "--images", str(SAMPLE), *where)
    words = ("clusters", "generate", "--tastes", "2", *where)
    refused = CliRunner().invoke(app, list(words))
    assert refused.exit_code == 1
    assert "no taste clusters were fitted with the current encoder; try: eyecatch clusters fit" in refused.stderr
    asyncio.run(fit_by_hand(folder))
    counts = json.loads(run(*words).stdout.splitlines()[-1])
    assert counts == {"drawn": 4, "covers": 4, "had its covers": 0}
    covers = asyncio.run(generated_covers(folder))
    ids = [line.split(",")[0] for line in lines[1:3]]
    assert sorted((c.item_id, c.taste) for c in covers) == sorted((item, taste) for item in ids for taste in (0, 2))
    assert not any((folder / "jobs").rglob("*.npz"))
    assert json.loads(run(*words, "--json").stdout) == {"had its covers": 4}
    assert {c.id for c in asyncio.run(generated_covers(folder))} == {c.id for c in covers}
