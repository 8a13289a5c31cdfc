"""eyecatch import items | covers | events | users: a table into a data folder, with a progress bar and a report of refused rows."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyecatch.commands.common import DEFAULT_DATA, DataDir, Json, fail, print_json, readable_errors
from eyecatch.commands.flags import Command, keyword, with_flags
from eyecatch.config import Config
from eyecatch.settings import resolved

if TYPE_CHECKING:
    from eyecatch.importing.report import Progress, Report
    from eyecatch.importing.tables import Table
    from eyecatch.wiring.stores import Parts

app = typer.Typer(help="Import tables into a data folder that no server uses.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="CSV, TSV, Parquet or JSON Lines file.")]
Images = Annotated[
    Path | None, typer.Option("--images", help="Folder of relative picture paths; default: the file's folder.")
]
Refused = Annotated[
    Path | None, typer.Option("--refused", help="Write refused rows with their reasons to this JSON Lines file.")
]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", "-c", help="Mapping MEANING=COLUMN, for example id=movieId; repeat for more."),
]


def mapping(pairs: list[str] | None, allowed: tuple[str, ...]) -> dict[str, list[str]]:
    """`["id=movieId", ...]` -> {"id": ["movieId"]}. Ends the command for an unknown meaning."""
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

    columns = (TextColumn(f"import {what}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())

    async def work(table: Table) -> Report:
        bar = Progress(*columns, console=Console(stderr=True))
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


def table_import(what: str) -> Callable[[Callable[..., Awaitable["Report"]]], Command]:
    """A command from an import: it gets the parts, the table, its progress and the file, then its own flags."""

    def decorate(run: Callable[..., Awaitable["Report"]]) -> Command:
        def command(*, file: Path, refused: Path | None, data_dir: str, json: bool, **options: Any) -> None:
            execute(what, file, data_dir, refused, json, partial(run, file=file, **options))

        flags = [("refused", Refused, None), ("data_dir", DataDir, DEFAULT_DATA), ("json", Json, False)]
        return with_flags(command, run, [keyword(*flag) for flag in flags], skip=3)

    return decorate


@app.command("items")
@table_import("items")
async def import_items(
    parts: "Parts", table: "Table", progress: "Progress", file: File, images: Images = None, column: Column = None
) -> "Report":
    """Import items with their pictures. Meanings: id, title, category, picture (repeatable). Common column names are recognised."""
    from eyecatch.importing.items import ItemColumns, import_items

    names = mapping(column, ("id", "title", "category", "picture"))
    single = {k: v[-1] for k, v in names.items() if k != "picture"}
    columns = ItemColumns(**single, pictures=tuple(names.get("picture", ())))
    return await import_items(table, images or file.parent, parts.catalog, parts.blobs, columns, progress)


@app.command("covers")
@table_import("covers")
async def import_covers(
    parts: "Parts", table: "Table", progress: "Progress", file: File, images: Images = None, column: Column = None
) -> "Report":
    """Import covers with your own cover ids. Meanings: id, item, image, embedding (the cover's own vector, kept for export)."""
    from eyecatch.importing.covers import CoverColumns, import_covers

    names = mapping(column, ("id", "item", "image", "embedding"))
    single = {k: v[-1] for k, v in names.items() if k != "embedding"}
    columns = CoverColumns(**single, embedding=tuple(names.get("embedding", ())))
    folder = images or file.parent
    return await import_covers(table, folder, parts.catalog, parts.blobs, parts.store.notes, columns, progress)


EVENT_MEANINGS = ("user", "item", "time", "action", "id", "cover", "decision", "dwell_ms")


@app.command("events")
@table_import("events")
async def import_events(
    parts: "Parts",
    table: "Table",
    progress: "Progress",
    file: File,
    column: Column = None,
    rating_column: Annotated[
        str,
        typer.Option(
            help="Column of a rating that gives the action: >= 4 like, >= 3 click, <= 2 dislike, else impression."
        ),
    ] = "",
    action: Annotated[str, typer.Option(help="One action for every row, if there is no action column.")] = "",
) -> "Report":
    """Import behaviour. Meanings: user, item, time, action, id, cover, decision, dwell_ms."""
    from eyecatch.core.types import Action
    from eyecatch.importing.events import EventColumns, import_events

    actions = {a.name.lower(): a for a in Action}
    if action and action.lower() not in actions:
        fail(f"error: --action {action}; allowed: {', '.join(actions)}")
    names = {k: v[-1] for k, v in mapping(column, EVENT_MEANINGS).items()}
    columns = EventColumns(**names, rating=rating_column, constant=actions[action.lower()] if action else None)
    return await import_events(table, parts.store.profiles, parts.store.catalog, parts.encoder, columns, progress)


@app.command("users")
@table_import("users")
async def import_users(
    parts: "Parts", table: "Table", progress: "Progress", file: File, column: Column = None
) -> "Report":
    """Import users' vectors of your own model, 1 to 1,024 numbers wide. Meanings: user, embedding (repeatable: the columns of one vector).

    A cell is a list, or numbers separated by "|", commas or spaces.
    """
    from eyecatch.importing.users import UserColumns, import_users
    from eyecatch.wiring.stores import vector_intake

    names = mapping(column, ("user", "embedding"))
    columns = UserColumns((names.get("user") or [""])[-1], tuple(names.get("embedding", ())))
    return await import_users(table, vector_intake(parts.store, parts.encoder), columns, progress)
