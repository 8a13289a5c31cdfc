"""Mistakes that many make: each is one readable line, and nothing is created or rewritten."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eyecatch.cli import app
from eyecatch.stores.sqlite import SqliteStore
from typer.testing import CliRunner

from tests.contracts.builders import cover, event, item, nothing
from tests.e2e.conftest import run

ITEMS = "id,title,image\n1,Blue,a.png\n"


def errors(*arguments: object, env: dict[str, str] | None = None) -> str:
    """The one line of a command that fails."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with an item, its cover and a user."""
    import asyncio

    async def fill(store: SqliteStore) -> None:
        await store.catalog.upsert_items([item("a")], [cover("c", "a")])
        await store.profiles.absorb([event("e")], nothing)

    folder = tmp_path / "data"
    store = SqliteStore.open(folder)
    asyncio.run(fill(store))
    store.close()
    return folder


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    before = (folder / "eyecatch.db").read_bytes()
    yield
    assert (folder / "eyecatch.db").read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        *("clusters show", "clusters fit", "segments list", "segments describe", "users reencode", "items reembed"),
        *("embeddings fit", "evaluate recall", "export behaviour --out out"),
    ],
)
def test_a_data_folder_that_does_not_exist_is_not_created(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "dta"
    assert f"--data-dir {folder}: there is no such folder" in errors(*command.split(), "--data-dir", folder)
    assert not folder.exists()


@pytest.mark.parametrize("command", ["users reencode", "items reembed", "clusters fit"])
@pytest.mark.parametrize(("name", "allowed"), [("chekpoint", "no such folder"), ("data", "a folder with one of vlm")])
def test_a_wrong_checkpoint_is_refused_before_anything_is_rewritten(
    command: str, name: str, allowed: str, folder: Path
) -> None:
    wrong = folder.parent / name
    with unchanged(folder):
        line = errors(*command.split(), "--data-dir", folder, env={"EYECATCH_CHECKPOINT": str(wrong)})
    assert f"checkpoint: got '{wrong}"[:40] in line
    assert allowed in line


def test_a_checkpoint_that_cannot_be_loaded_is_refused_before_covers_are_embedded(folder: Path) -> None:
    broken = folder.parent / "checkpoint"
    (broken / "vlm").mkdir(parents=True)
    with unchanged(folder):
        line = errors("items", "reembed", "--data-dir", folder, env={"EYECATCH_CHECKPOINT": str(broken)})
    assert "cannot be loaded" in line


def test_a_wrong_checkpoint_ends_a_server_at_its_start(tmp_path: Path) -> None:
    where = ("--checkpoint", str(tmp_path / "nope"), "--data-dir", str(tmp_path / "data"))
    done = run("serve", *where, "--port", "0", check=False)
    assert done.returncode == 1
    assert "error: checkpoint: got " in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_folder_of_pictures_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    where = ("--data-dir", tmp_path / "data")
    line = errors("import", "items", tmp_path / "items.csv", "--images", tmp_path / "pics", *where)
    assert line == f"error: --images {tmp_path / 'pics'}: there is no such folder; allowed: a folder that exists"


def test_a_file_as_data_folder_is_named(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text(ITEMS)
    assert errors("import", "items", table, "--data-dir", table) == (
        f"error: cannot use {table} as the data folder: File exists"
    )


def test_what_only_reads_works_beside_a_server(folder: Path) -> None:
    server = SqliteStore.open(folder)
    try:
        for command in ("clusters show", "segments list"):
            line = errors(*command.split(), "--data-dir", folder)
            assert line == "error: no taste clusters were fitted with the current encoder; try: eyecatch clusters fit"
        assert "is in use by process" in errors("clusters", "fit", "--data-dir", folder)
    finally:
        server.close()


def test_no_server_is_asked_about_only_if_none_answers() -> None:
    line = errors("items", "list", "--server", "127.0.0.1:1")
    assert "is a server running at 127.0.0.1:1?" in line


@pytest.mark.parametrize("words", [("export", "catalogue", "--data-dir"), ("export", "behaviour", "--data-dir")])
def test_a_folder_that_cannot_be_written_is_named(folder: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("in the way")
    line = errors(*words, folder, "--out", tmp_path / "file" / "out")
    assert str(tmp_path / "file") in line
    assert "Not a directory" in line
