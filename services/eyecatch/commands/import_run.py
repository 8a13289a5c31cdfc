"""The running of an import: the data folder, the file of refused rows, a progress bar, and the report. Knows no meaning of a table."""

import asyncio
import gc
import os
import shutil
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

import typer

from eyecatch.commands.common import fail, print_json, readable_errors
from eyecatch.config import Config
from eyecatch.settings import resolved

if TYPE_CHECKING:
    from eyecatch.importing.report import ImportOptions, Report
    from eyecatch.importing.tables import Table, TableOptions

SHOWN = 10
NEED_ITEMS = ("covers", "events")


@dataclass(frozen=True)
class Reading:
    """What to import from where, and where its report goes. `what`: items, covers, events or users."""

    what: str
    file: Path
    form: "TableOptions"
    options: "ImportOptions"
    data_dir: str
    refused: Path | None
    json: bool


Run = Callable[..., Awaitable["Report"]]


def execute(reading: Reading, run: Run, table: "Table | None" = None) -> int:
    """Run the import under a progress bar and print its report; returns the exit status: 2 if rows were refused or not read.

    `table`: an open table in place of the file.
    """
    from eyecatch.importing.report import Report
    from eyecatch.importing.tables import Table

    with readable_errors(), _refusals(reading.refused) as file, _folder(reading) as data_dir:
        report = Report(file=file)
        with _stoppable(reading, report, file, data_dir):
            asyncio.run(_work(reading, run, table or Table(reading.file, reading.form), report, data_dir))
        if file:
            file.flush()
    if reading.json:
        print_json(as_data(report, reading.options.check))
    else:
        print_report(reading, report)
    return 2 if report.refusals or report.unread else 0


def as_data(report: "Report", check: bool) -> dict[str, object]:
    """The report as plain data. The rows of the table are accepted, unchanged, refused or unread. What there is none of is left out,
    except for the first three."""
    counts: dict[str, object] = {"accepted": report.accepted, "unchanged": report.unchanged, "refused": report.refusals}
    more = {"unread": report.unread, "warnings": report.warned, "notes": report.notes}
    details = {"columns": report.columns, "examples": report.examples} if check else {}
    return counts | {name: value for name, value in more.items() if value} | details


def print_report(reading: Reading, report: "Report") -> None:
    stored = "could be stored" if reading.options.check else "stored"
    counts = f"{report.accepted} {stored}, {report.unchanged} unchanged, {report.refusals} refused"
    more = [f"{report.unread} not read"] * bool(report.unread) + [f"{report.warned} warnings"] * bool(report.warned)
    typer.echo(f"{reading.what}: {', '.join([counts, *more])}")
    for note in [report.columns, *report.notes[:SHOWN]]:
        typer.echo(f"  {note}", err=True)
    for title, rows, count in (
        ("refused", report.refused, report.refusals),
        ("warning", report.warnings, report.warned),
    ):
        for r in rows[:SHOWN]:
            typer.echo(f"  {title}: row {r.row} {r.id}: {r.reason}", err=True)
        if count > SHOWN:
            hint = "" if reading.refused or title == "warning" else " (--refused FILE lists them all)"
            typer.echo(f"  and {count - SHOWN} more{hint}", err=True)
    if reading.options.check:
        for example in report.examples:
            typer.echo("  " + ", ".join(f"{name}={value!r}" for name, value in example.items()))
        typer.echo("  nothing was stored (--check)")


@contextmanager
def _stoppable(reading: Reading, report: "Report", file: IO[str] | None, data_dir: str) -> Iterator[None]:
    """End the process at once on Ctrl-C, in the middle of a batch: a batch is stored whole or not at all, as after `kill -9`."""

    def stop(*_: object) -> None:
        from rich.console import Console

        resume = (
            ""
            if reading.options.check
            else f"; {report.accepted} rows are stored, and the same command goes on from there"
        )
        Console(stderr=True).show_cursor(True)
        typer.echo(f"\nstopped after {report.rows} rows{resume}", err=True)
        if file:
            file.flush()
        if data_dir != reading.data_dir:
            shutil.rmtree(data_dir, ignore_errors=True)
        os._exit(130)

    before = signal.signal(signal.SIGINT, stop) if threading.current_thread() is threading.main_thread() else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _refusals(path: Path | None) -> Iterator[IO[str] | None]:
    """The file of refused rows, opened before anything is imported."""
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        fail(f"error: --refused {path}: {error.strerror}; allowed: a file in a folder that exists and can be written")
    with file:
        yield file


@contextmanager
def _folder(reading: Reading) -> Iterator[str]:
    """The data folder; of a check that has none, an empty folder that is removed afterwards."""
    config = resolved(Config, {"data_dir": reading.data_dir})
    if reading.what in NEED_ITEMS and not (reading.options.check or config.store or config.folder.exists()):
        allowed = f"a data folder with items, since {reading.what} are about them; eyecatch import items makes one"
        fail(f"error: --data-dir {reading.data_dir}: there is no such folder; allowed: {allowed}")
    if not reading.options.check or config.store or config.folder.exists():
        yield reading.data_dir
        return
    with TemporaryDirectory(prefix="eyecatch-check-") as folder:
        yield folder


def _rows(table: "Table", report: "Report") -> str:
    """The rows so far, and about how many there are by those that were read, which are some batches more."""
    total = f" of about {round(table.count / table.fraction):,}" if 0 < table.fraction < 1 else f" of {table.count:,}"
    return f"{report.rows:,}{total} rows, {report.refusals:,} refused"


async def _work(reading: Reading, run: Run, table: "Table", report: "Report", data_dir: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from eyecatch.wiring.stores import open_parts

    verb = "check" if reading.options.check else "import"
    columns: tuple[Any, ...] = (TextColumn(f"{verb} {reading.what}"), BarColumn(), TextColumn("{task.description}"))
    async with open_parts(resolved(Config, {"data_dir": data_dir})) as parts:
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=1.0)
            gc.freeze()  # what is loaded stays: looking through it again and again would take a sixth of an import

            def show(fraction: float, report: "Report") -> None:
                bar.update(task, completed=fraction, description=_rows(table, report))

            await run(parts, table, show, {"options": reading.options, "report": report})
