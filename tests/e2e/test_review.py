"""An editor's day on the command line: look, approve, pin, retire, restore, delete, and the record of it all."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import run, run_json, serving


@pytest.fixture
def folder(imported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(imported, tmp_path / "data"))


def test_an_editor_decides_about_covers(folder: Path) -> None:
    with serving(folder, "--exploration", "0") as (address, _):
        at = ("--server", address)

        def shown() -> list[str]:
            (item,) = run_json("recommend", "owl", "--user", "noah", "--per-item", "16", *at)["items"]
            return [cover["cover_id"] for cover in item["covers"]]

        originals = shown()
        (cover,) = run_json("draw", "owl", "--user", "noah", "--seed", "3", *at)["covers"]
        id = cover["id"]
        assert cover["trust"] == "TRUST_CANDIDATE"
        assert id in {one["id"] for one in run_json("review", "list", *at)["covers"]}
        assert shown() == originals
        assert "trusted" in run("review", "approve", id, "--editor", "ann", "--note", "crisp", *at).stdout
        assert set(shown()) == {*originals, id}
        run("review", "pin", "owl", id, "--editor", "ann", *at)
        assert shown() == [id]
        assert "originals restored; 1 covers changed" in run("review", "restore", "owl", "--editor", "bob", *at).stdout
        assert shown() == originals
        run("review", "retire", originals[0], *at)
        assert shown() == originals[1:]
        assert run_json("review", "restore", "--all", *at)["covers_changed"] == 1
        assert shown() == originals
        run("review", "delete", id, "--editor", "ann", *at)
        original = run("review", "delete", originals[0], *at, check=False)
        assert original.returncode == 1
        assert "RetireCover" in original.stderr
        refused = run("review", "restore", *at, check=False)
        assert "name the items, or give --all" in refused.stderr
        entries = run_json("review", "audit", *at)["entries"]
        record = [(entry["by"], entry["action"]) for entry in entries if entry["by"] in ("ann", "bob")]
        assert record == [("ann", "delete"), ("bob", "restore"), ("ann", "pin"), ("ann", "approve")]
        assert entries[-1]["note"] == "crisp"
        assert "trust" in run("covers", "owl", *at).stdout
    with serving(folder, "--exploration", "0") as (address, _):
        assert len(run_json("review", "audit", "--server", address)["entries"]) == len(entries), "it survives"
