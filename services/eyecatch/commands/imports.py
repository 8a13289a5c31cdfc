"""eyecatch import items | covers | events: a table into a data folder, with a bar and a report of what was refused."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import DEFAULT_DATA, DataDir, Json, fail, print_json, readable_errors
from eyecatch.config import Config
from eyecatch.settings import resolved

if TYPE_CHECKING:
    from eyecatch.importing.report import Progress, Report
    from eyecatch.importing.tables import Table
    from eyecatch.wiring.stores import Parts

app = typer.Typer(help="Import tables into a data folder that no server is using.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="CSV, TSV, Parquet or JSON Lines file.")]
Images = Annotated[
    Path | None, typer.Option("--images", help="Folder the picture paths start from; default: the file's folder.")
]
Refused = Annotated[
    Path | None, typer.Option("--refused", help="Write refused rows with their reasons to this JSON Lines file.")
]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", "-c", help="Mapping MEANING=COLUMN, for example id=movieId; repeat for more."),
]


def mapping(pairs: list[str] | None, allowed: tuple[str, ...]) -> dict[str, list[str]]:
    """`["id=movieId", ...]` -> {"id": ["movieId"]}; ends the command on an unknown meaning."""
    out: dict[str, list[str]] = {}
    for pair in pairs or ():
        meaning, separator, column = pair.partition("=")
        if not separator or meaning not in allowed or not column:
            fail(f"error: --column {pair}; allowed: MEANING=COLUMN with a meaning of {', '.join(allowed)}")
        out.setdefault(meaning, []).append(column)
    return out


Run = Callable[["Parts", "Table", "Progress"], Awaitable["Report"]]


def execute(what: str, file: Path, data_dir: str, refused: Path | None, json: bool, run: Run) -> None:
    """Open the data folder, run the import under a progress bar and print its report. Exit status 2 if rows were refused."""
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from eyecatch.importing.report import Report
    from eyecatch.importing.tables import Table
    from eyecatch.wiring.stores import open_parts

    async def work(table: Table) -> Report:
        bar = Progress(
            TextColumn(f"import {what}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=Console(stderr=True),
        )  # fmt: skip
        async with open_parts(resolved(Config, {"data_dir": data_dir})) as parts:
            with bar:
                task = bar.add_task("", total=1.0)

                def show(fraction: float, report: Report) -> None:
                    bar.update(
                        task, completed=fraction, description=f"{report.rows} rows, {len(report.refused)} refused"
                    )

                return await run(parts, table, show)

    with readable_errors():
        report = asyncio.run(work(Table(file)))
    if refused:
        report.write_refusals(refused)
    if json:
        print_json({"accepted": report.accepted, "unchanged": report.unchanged, "refused": len(report.refused)})
    else:
        typer.echo(f"{what}: {report.accepted} stored, {report.unchanged} unchanged, {len(report.refused)} refused")
        for r in report.refused[:10]:
            typer.echo(f"  row {r.row} {r.id}: {r.reason}", err=True)
        if len(report.refused) > 10:
            typer.echo(
                f"  and {len(report.refused) - 10} more" + ("" if refused else " (--refused FILE lists them all)"),
                err=True,
            )
    if report.refused:
        raise typer.Exit(2)


@app.command("items")
def import_items(
    file: File,
    images: Images = None,
    column: Column = None,
    refused: Refused = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Items with their pictures. Meanings: id, title, category, picture (repeatable); common column names are found."""

    async def run(parts: "Parts", table: "Table", progress: "Progress") -> "Report":
        from eyecatch.importing.items import ItemColumns
        from eyecatch.importing.items import import_items as verb

        m = mapping(column, ("id", "title", "category", "picture"))
        one = {k: v[-1] for k, v in m.items() if k != "picture"}
        columns = ItemColumns(**one, pictures=tuple(m.get("picture", ())))
        return await verb(table, images or file.parent, parts.catalog, parts.blobs, columns, progress)

    execute("items", file, data_dir, refused, json, run)


@app.command("covers")
def import_covers(
    file: File,
    images: Images = None,
    column: Column = None,
    refused: Refused = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Covers you already have, under your own cover ids. Meanings: id, item, image."""

    async def run(parts: "Parts", table: "Table", progress: "Progress") -> "Report":
        from eyecatch.importing.covers import CoverColumns
        from eyecatch.importing.covers import import_covers as verb

        columns = CoverColumns(**{k: v[-1] for k, v in mapping(column, ("id", "item", "image")).items()})
        return await verb(table, images or file.parent, parts.catalog, parts.blobs, columns, progress)

    execute("covers", file, data_dir, refused, json, run)


EVENT_MEANINGS = ("user", "item", "time", "action", "id", "cover", "decision", "dwell_ms")


@app.command("events")
def import_events(
    file: File,
    column: Column = None,
    rating_column: Annotated[
        str,
        typer.Option(
            help="A rating to read actions from: from 4 up like, from 3 click, up to 2 dislike, else impression."
        ),
    ] = "",
    action: Annotated[str, typer.Option(help="One action for every row, where there is no action column.")] = "",
    refused: Refused = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Behaviour. Meanings: user, item, time, action, id, cover, decision, dwell_ms."""

    async def run(parts: "Parts", table: "Table", progress: "Progress") -> "Report":
        from eyecatch.core.types import Action
        from eyecatch.importing.events import EventColumns
        from eyecatch.importing.events import import_events as verb

        names = {a.name.lower(): a for a in Action}
        if action and action.lower() not in names:
            fail(f"error: --action {action}; allowed: {', '.join(names)}")
        m = {k: v[-1] for k, v in mapping(column, EVENT_MEANINGS).items()}
        columns = EventColumns(**m, rating=rating_column, constant=names[action.lower()] if action else None)
        return await verb(table, parts.store.profiles, parts.store.catalog, parts.encoder, columns, progress)

    execute("events", file, data_dir, refused, json, run)
