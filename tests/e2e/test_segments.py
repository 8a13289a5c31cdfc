"""Segments by our own commands: described from a state, edited by a person, drawn for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from eyecatch.cli import app
from PIL import Image
from typer.testing import CliRunner

from tests.e2e.conftest import run, two_tastes


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["segments", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout if done.exit_code == 0 else done.stderr


def segments(*arguments: str) -> list[dict[str, Any]]:
    code, output = invoke(*arguments, "--json")
    assert code == 0, output
    segments: list[dict[str, Any]] = json.loads(output)["segments"]
    return segments


@pytest.fixture(scope="module")
def where(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Sixty users in two clusters, half of them after ink, half after 3d covers."""
    folder = tmp_path_factory.mktemp("segments")
    where = ("--data-dir", str(shutil.copytree(imported, folder / "data")))
    run("import", "events", str(two_tastes(folder / "events.csv")), *where)
    run("clusters", "fit", "--count", "2", "--least", "10", *where)
    assert invoke("list", *where) == (1, "error: no segments are described; try: eyecatch segments describe\n")
    return where


@pytest.fixture(scope="module")
def described(where: tuple[str, str]) -> list[dict[str, Any]]:
    return segments("describe", *where)


def test_clusters_are_told_by_what_their_users_like(described: list[dict[str, Any]]) -> None:
    assert min(one["users"] for one in described) >= 30
    assert sorted("ink" in one["looks"] for one in described) == [False, True], "one of them likes ink"
    assert all(one["text"].startswith("Likes ") for one in described)


def test_what_a_person_wrote_stays(where: tuple[str, str], described: list[dict[str, Any]]) -> None:
    (edited,) = segments(
        "edit", described[0]["name"], "--name", "Coffee enthusiasts", "--text", "Small, dark, hot.", *where
    )
    assert (edited["id"], edited["edited"]) == (described[0]["id"], True)
    code, output = invoke("edit", "coffee enthusiasts", "--text", " ", *where)
    assert code == 1
    assert "text=' '; allowed: 1 to 1000 printable characters" in output
    assert invoke("edit", "nobody", "--name", "x", *where) == (1, "error: no segment 'nobody'\n")
    again = segments("describe", *where)
    assert [one["name"] for one in again if one["edited"]] == ["Coffee enthusiasts"]


def test_a_segment_from_words_alone(where: tuple[str, str], described: list[dict[str, Any]]) -> None:
    (added,) = segments("add", "pandas and bears", "--closest", "8", *where)
    assert "bear" in added["words"]
    assert (added["users"], added["edited"]) == (0, True)
    assert added["id"] in {one["id"] for one in segments("list", *where)}


def test_covers_for_a_segment(where: tuple[str, str], described: list[dict[str, Any]], tmp_path: Path) -> None:
    arguments = (
        "generate",
        described[1]["id"],
        "--item",
        "panda",
        "--out",
        str(tmp_path),
        "--count",
        "1",
        "--draws",
        "2",
    )
    code, output = invoke(*arguments, "--json", *where)
    assert code == 0, output
    (path,) = json.loads(output)["covers"]
    with Image.open(path) as cover:
        assert cover.size in ((256, 256), (320, 320)), "as large as its reference"
        assert f'"segment": "{described[1]["id"]}"' in str(cover.info)
    code, output = invoke("generate", described[1]["id"], "--item", "no such", "--out", str(tmp_path), *where)
    assert (code, output) == (1, "error: no item 'no such'\n")


def test_without_clusters_it_says_what_to_do(data_dir: Path) -> None:
    code, output = invoke("describe", "--data-dir", str(data_dir))
    assert code == 1
    assert "try: eyecatch clusters fit" in output
