"""eyecatch import users, embeddings fit | show | drop on a state in SQLite, as an operator runs them. SIMULATED users."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eyecatch.cli import app
from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.types import Action, Event
from eyecatch.stores.sqlite import SqliteStore
from icg.users.vector_map import VectorMap
from typer.testing import CliRunner

from tests.contracts.builders import cover, item, unit

USERS, ITEMS, WIDTH = 80, 40, 12


def run(state: Path, *words: str, code: int = 0) -> str:
    answer = CliRunner().invoke(app, [*words, "--data-dir", str(state)])
    assert answer.exit_code == code, answer.output
    return answer.stdout if code == 0 else answer.output


async def filled(folder: Path, users: int) -> None:
    """Forty items with a cover each in four groups of near covers; a user likes covers of one group."""
    store = SqliteStore.open(folder)
    directions = [unit(n % 4) + 0.5 * unit(100 + n) for n in range(ITEMS)]
    covers = [
        replace(cover(f"c{n}", f"i{n}"), embedding=row / np.float32(np.linalg.norm(row)))
        for n, row in enumerate(directions)
    ]
    await store.catalog.upsert_items([item(f"i{n}") for n in range(ITEMS)], covers)
    rng = np.random.default_rng(0)
    events = [
        Event(f"{u}-{k}", f"u{u}", f"i{n}", Action.LIKE, 1e9 + 3600 * k, f"c{n}")
        for u in range(users)
        for k, n in enumerate(rng.permutation(np.arange(u % 4, ITEMS, 4))[:8].tolist())
    ]
    await store.profiles.absorb(events, MeanEncoder())
    store.close()


def vectors(path: Path, users: int) -> Path:
    rng = np.random.default_rng(1)
    groups = rng.standard_normal((4, WIDTH))
    lines = [
        {"user": f"u{u}", "tower": (groups[u % 4] + 0.1 * rng.standard_normal(WIDTH)).tolist()} for u in range(users)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    asyncio.run(filled(tmp_path / "data", USERS))
    return tmp_path / "data"


def test_from_a_table_to_a_map_and_back(state: Path, tmp_path: Path) -> None:
    file = vectors(tmp_path / "users.jsonl", USERS + 8)
    stored = run(state, "import", "users", str(file), "--column", "user=user", "--column", "embedding=tower")
    assert f"users: {USERS + 8} stored, 0 unchanged, 0 refused" in stored
    assert "none; learn one with: eyecatch embeddings fit" in run(state, "embeddings", "show")
    copy = tmp_path / "map.safetensors"
    report = json.loads(run(state, "embeddings", "fit", "--json", "--out", str(copy)))
    assert (report["users"], report["with_vector"], report["overlap"], report["cold"]) == (88, 88, 80, 8)
    assert (report["share_with_vector"], report["share_reached"], report["adopted"]) == (1.0, 1.0, True)
    accuracy = report["figures"]["accuracy"]
    assert accuracy["mapped"] > max(accuracy["cold"], accuracy["mean_user"], accuracy["shuffled"]) + 0.1
    learned = VectorMap.from_bytes(copy.read_bytes())
    assert (learned.width, learned.users) == (WIDTH, 80)
    shown = json.loads(run(state, "embeddings", "show", "--json"))
    assert (shown["vectors"], shown["width"]) == (88, WIDTH)
    assert shown["map"]["figures"] == report["figures"]
    words = run(state, "embeddings", "show")
    assert "exchanged vectors (control)" in words
    assert "the map reaches 100.0%" in words
    assert json.loads(run(state, "embeddings", "drop", "--json")) == {"dropped": 88}
    assert json.loads(run(state, "embeddings", "show", "--json")) == {"vectors": 0, "width": 0, "map": None}


def test_refusals_are_one_line_with_the_numbers(state: Path, tmp_path: Path) -> None:
    none = run(state, "embeddings", "fit", code=1)
    assert "users with a vector and enough behaviour: 0; allowed: at least 50 (0 users have a vector" in none
    file = vectors(tmp_path / "users.jsonl", 1)
    run(state, "import", "users", str(file), "--column", "user=user", "--column", "embedding=tower")
    assert "enough behaviour: 1; allowed: at least 50 (1 users" in run(state, "embeddings", "fit", code=1)
    (tmp_path / "wide.csv").write_text("user,vector\nu1," + "|".join(["1"] * 1025) + "\n")
    refused = run(state, "import", "users", str(tmp_path / "wide.csv"), code=2)
    assert "got '1025 numbers'; allowed: 1 to 1024" in refused


def test_vectors_that_say_nothing_are_not_used_unless_asked(state: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [{"user": f"u{u}", "vector": rng.standard_normal(WIDTH).tolist()} for u in range(USERS)]
    file = tmp_path / "users.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(state, "import", "users", str(file))
    words = run(state, "embeddings", "fit", "--out", str(tmp_path / "map"), code=1)
    assert "CANNOT BE TOLD FROM CHANCE" in words
    assert "the map is not used" in words
    assert not (tmp_path / "map").exists()
    assert "none; learn one" in run(state, "embeddings", "show")
    assert json.loads(run(state, "embeddings", "fit", "--anyway", "--json"))["reached"] == USERS
