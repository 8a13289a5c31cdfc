"""Segments by our own commands: described from a state, edited by a person, drawn for."""

import csv
import json
from pathlib import Path

import pytest
from eyecatch.cli import app
from PIL import Image
from typer.testing import CliRunner

from tests.e2e.conftest import SAMPLE, run

WORD = {"ink": "ink", "3d": "3d"}


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["segments", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout if done.exit_code == 0 else done.stderr


@pytest.fixture
def clustered(data_dir: Path, tmp_path: Path) -> tuple[str, str]:
    """Sixty users in two clusters, half of them after ink, half after 3d covers."""
    where = ("--data-dir", str(data_dir))
    with (SAMPLE / "covers.csv").open(encoding="utf-8") as file:
        covers = list(csv.DictReader(file))
    liked = [[c for c in covers if c["style"] == style][:16] for style in WORD]
    rows = [
        f"u{user},{cover['item_id']},{1_700_000_000 + 60 * n},like,{cover['cover_id']}"
        for user in range(60)
        for n, cover in enumerate(liked[user % 2])
    ]
    table = tmp_path / "events.csv"
    table.write_text("\n".join(["user_id,item_id,timestamp,action,cover_id", *rows]))
    run("import", "events", str(table), *where)
    run("clusters", "fit", "--count", "2", "--least", "10", *where)
    return where


def test_described_edited_and_drawn_for(clustered: tuple[str, str], tmp_path: Path) -> None:
    assert invoke("list", *clustered) == (1, "error: no segments are described; try: eyecatch segments describe\n")
    code, said = invoke("describe", "--json", *clustered)
    assert code == 0, said
    found = json.loads(said)["segments"]
    assert min(one["users"] for one in found) >= 30
    looks = [one["looks"] for one in found]
    assert sorted("ink" in look for look in looks) == [False, True], "one of them likes ink"
    assert all(one["text"].startswith("Likes ") for one in found)
    code, said = invoke(
        "edit", found[0]["name"], "--name", "Coffee enthusiasts", "--text", "Small, dark, hot.", *clustered
    )
    assert code == 0, said
    again = json.loads(invoke("describe", "--json", *clustered)[1])["segments"]
    assert [(one["name"], one["edited"]) for one in again if one["id"] == found[0]["id"]] == [
        ("Coffee enthusiasts", True)
    ]
    code, said = invoke("edit", "coffee enthusiasts", "--text", " ", *clustered)
    assert code == 1
    assert "text=' '; allowed: 1 to 1000 printable characters" in said
    assert invoke("edit", "nobody", "--name", "x", *clustered) == (1, "error: no segment 'nobody'\n")
    out = tmp_path / "covers"
    asked = ("generate", "coffee enthusiasts", "--item", "panda", "--out", str(out), "--count", "1", "--draws", "2")
    code, said = invoke(*asked, "--json", *clustered)
    assert code == 0, said
    (path,) = json.loads(said)["covers"]
    with Image.open(path) as cover:
        assert cover.size == (128, 128)
        assert found[0]["id"] in str(cover.info)
    code, said = invoke("generate", "coffee enthusiasts", "--item", "no such", "--out", str(out), *clustered)
    assert (code, said) == (1, "error: no item 'no such'\n")


def test_without_clusters_it_says_what_to_do(data_dir: Path) -> None:
    code, said = invoke("describe", "--data-dir", str(data_dir))
    assert code == 1
    assert "try: eyecatch clusters fit" in said
