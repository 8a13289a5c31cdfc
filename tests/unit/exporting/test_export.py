"""A state as tables: what was shown where, and by which chance, beside what users did; and what `icg space fit` reads of it."""

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest
from eyecatch.cli import app
from eyecatch.core.recommending.decisions import to_line
from eyecatch.core.types import Action, Decision, Event, Item
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore
from icg.data.catalogue import Catalogue, RowReport
from typer.testing import CliRunner

from tests.contracts.builders import MEAN, cover, generated
from tests.fakes import picture

T = 1_767_225_600.0
"""UNIX seconds from which the times below count."""


async def filled(folder: Path) -> None:
    store, blobs = SqliteStore.open(folder), FsspecBlobs(str(folder / "blobs"))
    uris = [await blobs.put(picture(colour), "webp") for colour in ("red", "blue")]
    covers = [cover("c1", "a", uri=uris[0]), cover("c2", "b", uri=uris[1]), generated("g", "a", uri=uris[0])]
    lost = cover("c3", "b", uri="blob:" + "0" * 64 + ".webp")
    await store.catalog.upsert_items([Item("a", "A red one", "x"), Item("b", "A blue one")], [*covers, lost])
    await store.decisions.append([to_line(Decision("d", "mia", T + 5.0, ("b", "a"), ("c2", "c1"), (0.5, 0.25)))])
    events = [
        Event("e1", "mia", "a", Action.IMPRESSION, T + 6.0, "c1", "d"),
        Event("e2", "mia", "a", Action.CLICK, T + 7.0, "c1", "d"),
        Event("e3", "mia", "a", Action.DWELL, T + 8.0, "c1", "d", 1500),
        Event("e4", "noah", "b", Action.LIKE, T + 9.5),
    ]
    await store.profiles.absorb(events, MEAN)
    store.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two items with a cover each, one that has lost its picture, a made cover, a decision, and the events of two users."""
    asyncio.run(filled(tmp_path / "data"))
    return tmp_path / "data"


def exported(state: Path, out: Path, what: str) -> dict[str, int]:
    answer = CliRunner().invoke(app, ["export", what, "--out", str(out), "--data-dir", str(state), "--json"])
    assert answer.exit_code == 0, answer.output
    counts: dict[str, int] = json.loads(answer.stdout)
    return counts


def test_events_have_the_position_and_the_propensity_of_what_was_shown(state: Path, tmp_path: Path) -> None:
    assert exported(state, tmp_path / "out", "behaviour") == {"events": 4, "decisions": 1}
    events = pl.read_parquet(tmp_path / "out" / "events.parquet")
    assert events["action"].to_list() == ["impression", "click", "dwell", "like"]
    assert events["position"].to_list() == [1, 1, 1, None]
    assert events["propensity"].to_list() == [0.25, 0.25, 0.25, None]
    assert events["dwell_ms"].to_list() == [0, 0, 1500, 0]
    assert events["timestamp"].to_list() == [T + 6.0, T + 7.0, T + 8.0, T + 9.5]
    decisions = pl.read_parquet(tmp_path / "out" / "decisions.parquet")
    assert decisions.select("decision_id", "position", "item_id", "cover_id", "propensity").rows() == [
        ("d", 0, "b", "c2", 0.5),
        ("d", 1, "a", "c1", 0.25),
    ]


def test_the_tables_are_those_that_the_recipes_read(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(state, out, "behaviour")
    assert exported(state, out, "catalogue") == {"items": 2, "covers": 2, "lost": 1}
    assert exported(state, out, "catalogue")["covers"] == 2, "again"
    catalogue, report = Catalogue.open(out), RowReport()
    examples = list(catalogue.examples(report))
    assert sorted((e.item, e.cover, e.title) for e in examples) == [("a", "c1", "A red one"), ("b", "c2", "A blue one")]
    log = catalogue.log(
        {e.cover: (n, e.item) for n, e in enumerate(examples)}, report, split=catalogue.splits.of("user", "mia")
    )
    assert not report.refused
    assert {"a", "b"} == {e.item for e in examples}
    assert set(log.position[log.user == log.user[0]]) <= {0, 1}


def test_a_state_without_anything_gives_tables_without_rows(tmp_path: Path) -> None:
    SqliteStore.open(tmp_path / "data").close()
    assert exported(tmp_path / "data", tmp_path / "out", "behaviour") == {"events": 0, "decisions": 0}
    assert pl.read_parquet(tmp_path / "out" / "events.parquet").columns[-1] == "propensity"
    assert exported(tmp_path / "data", tmp_path / "out", "catalogue") == {"items": 0, "covers": 0, "lost": 0}
