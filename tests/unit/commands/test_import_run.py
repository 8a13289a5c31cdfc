"""The import commands: nothing is created or stored before all is checked, and the report says what was understood."""

import json
from pathlib import Path

import pytest
from eyecatch import __version__
from eyecatch.cli import app
from typer.testing import CliRunner, Result

EVENTS = "user,item,action,time\nmia,1,click,1700000000\n"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "items.csv").write_text("id;title\n1;Red kettle\n2;\n")
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def test_a_file_of_refusals_that_cannot_be_written_is_refused_before_the_import(folder: Path) -> None:
    done = run(
        "import", "items", folder / "items.csv", "--refused", folder / "no/r.jsonl", "--data-dir", folder / "data"
    )
    assert (done.exit_code, (folder / "data").exists()) == (1, False)
    assert "allowed: a file in a folder that exists and can be written" in done.stderr


@pytest.mark.parametrize("what", ["events", "covers"])
def test_a_forgotten_data_folder_creates_none(folder: Path, what: str) -> None:
    done = run("import", what, folder / "events.csv", "--data-dir", folder / "data")
    assert (done.exit_code, (folder / "data").exists()) == (1, False)
    assert "there is no such folder; allowed: a data folder with items" in done.stderr


def test_a_check_creates_nothing_and_prints_what_it_understood(folder: Path) -> None:
    done = run("import", "items", folder / "items.csv", "--check", "--data-dir", folder / "data")
    assert (done.exit_code, (folder / "data").exists()) == (2, False)
    assert "items: 1 could be stored, 0 unchanged, 1 refused" in done.stdout
    assert "row=1, id='1', title='Red kettle'" in done.stdout
    assert "cells are separated by ';' (detected)" in done.stderr
    assert "no picture column was found" in done.stderr


def test_counts_of_json_add_up_and_refusals_are_in_the_file(folder: Path) -> None:
    refused = folder / "refused.jsonl"
    done = run("import", "items", folder / "items.csv", "--json", "--refused", refused, "--data-dir", folder / "data")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["accepted"], report["unchanged"], report["refused"]) == (2, 1, 0, 1)
    assert [json.loads(line)["row"] for line in refused.read_text().splitlines()] == [2]


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"eyecatch {__version__}\n"
