"""eyecatch import items | covers | events | users: a table into a data folder, with a progress bar and a report of refused rows."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyecatch.commands.common import DEFAULT_DATA, DataDir, Json, fail, readable_errors
from eyecatch.commands.flags import Command, keyword, with_flags
from eyecatch.commands.import_run import Reading, execute

if TYPE_CHECKING:
    from eyecatch.importing.report import Progress, Report
    from eyecatch.importing.tables import Table
    from eyecatch.wiring.stores import Parts

app = typer.Typer(help="Import tables into a data folder that no server uses.", no_args_is_help=True)

File = Annotated[
    Path,
    typer.Argument(
        help="CSV, TSV or other delimited text, JSON Lines or Parquet, also compressed, or a folder of such parts."
    ),
]
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
Columns = Annotated[
    str, typer.Option(help="Names of the columns of a file without a header, separated by commas, in their order.")
]
Delimiter = Annotated[str, typer.Option(help="What separates cells: ; | :: tab ...; by default it is detected.")]
EncodingName = Annotated[str, typer.Option("--encoding", help="Encoding of a text file; by default it is detected.")]
DryRun = Annotated[bool, typer.Option("--check", help="Read everything, store nothing, print ten rows as understood.")]


def mapping(pairs: list[str] | None, allowed: tuple[str, ...]) -> dict[str, list[str]]:
    """`["id=movieId", ...]` -> {"id": ["movieId"]}. Ends the command for an unknown meaning."""
    out: dict[str, list[str]] = {}
    for pair in pairs or ():
        meaning, separator, column = pair.partition("=")
        if not separator or meaning not in allowed or not column:
            fail(f"error: --column {pair}; allowed: MEANING=COLUMN with a meaning of {', '.join(allowed)}")
        out.setdefault(meaning, []).append(column)
    return out


def folder_of(images: Path | None, file: Path) -> Path:
    """The folder of relative picture paths. Ends the command if --images names none."""
    if images is not None and not images.is_dir():
        fail(f"error: --images {images}: there is no such folder; allowed: a folder that exists")
    return images or (file if file.is_dir() else file.parent)


def table_import(what: str) -> Callable[[Callable[..., Awaitable["Report"]]], Command]:
    """A command from an import: it gets the parts, the table, its progress, the keywords of the report and the file, then its own
    flags. A flag `strict` becomes an option of the import."""

    def decorate(run: Callable[..., Awaitable["Report"]]) -> Command:
        def command(*, file: Path, refused: Path | None, data_dir: str, json: bool, **options: Any) -> None:
            from eyecatch.importing.report import ImportOptions
            from eyecatch.importing.tables import TableOptions

            names = tuple(name.strip() for name in options.pop("columns").split(",") if name.strip())
            with readable_errors():
                form = TableOptions(options.pop("encoding"), options.pop("delimiter"), names)
            settings = ImportOptions(options.pop("check"), options.pop("strict", False))
            reading = Reading(what, file, form, settings, data_dir, refused, json)
            if code := execute(reading, partial(run, file=file, **options)):
                raise typer.Exit(code)

        flags: list[tuple[str, Any, Any]] = [("columns", Columns, ""), ("delimiter", Delimiter, "")]
        flags += [("encoding", EncodingName, ""), ("check", DryRun, False), ("refused", Refused, None)]
        flags += [("data_dir", DataDir, DEFAULT_DATA), ("json", Json, False)]
        return with_flags(command, run, [keyword(*flag) for flag in flags], skip=4)

    return decorate


@app.command("items")
@table_import("items")
async def import_items(
    parts: "Parts",
    table: "Table",
    progress: "Progress",
    keywords: Mapping[str, Any],
    file: File,
    images: Images = None,
    column: Column = None,
    picture_name: Annotated[
        str, typer.Option(help='Name of each item\'s picture if no column has it, for example "covers/{id}.jpg".')
    ] = "",
    strict: Annotated[
        bool, typer.Option(help="Refuse a row whose picture is missing; by default it is stored, with a warning.")
    ] = False,
) -> "Report":
    """Import items with their pictures. Meanings: id, title, category, picture (repeatable). Common column names are recognised."""
    from eyecatch.importing.items import ItemColumns, import_items

    names = mapping(column, ("id", "title", "category", "picture"))
    single = {k: v[-1] for k, v in names.items() if k != "picture"}
    pictures = tuple(names["picture"]) if "picture" in names else None
    columns = ItemColumns(**single, pictures=pictures, file_name=picture_name)
    folder = folder_of(images, file)
    report = await import_items(table, folder, parts.catalog, parts.blobs, columns, progress, **keywords)
    await _encode_users(parts, report, keywords)
    return report


async def _encode_users(parts: "Parts", report: "Report", keywords: Mapping[str, Any]) -> None:
    from eyecatch.importing.tastes import encode_users

    if report.accepted and not keywords["options"].check:
        await encode_users(parts.store.profiles, parts.encoder)


@app.command("covers")
@table_import("covers")
async def import_covers(
    parts: "Parts",
    table: "Table",
    progress: "Progress",
    keywords: Mapping[str, Any],
    file: File,
    images: Images = None,
    column: Column = None,
) -> "Report":
    """Import covers with your own cover ids. Meanings: id, item, image, embedding (the cover's own vector, kept for export)."""
    from eyecatch.importing.covers import CoverColumns, import_covers

    names = mapping(column, ("id", "item", "image", "embedding"))
    single = {k: v[-1] for k, v in names.items() if k != "embedding"}
    columns = CoverColumns(**single, embedding=tuple(names.get("embedding", ())))
    folder, stores = folder_of(images, file), (parts.catalog, parts.blobs, parts.store.notes)
    report = await import_covers(table, folder, *stores, columns, progress, **keywords)
    await _encode_users(parts, report, keywords)
    return report


EVENT_MEANINGS = ("user", "item", "time", "action", "id", "cover", "decision", "dwell_ms")


@app.command("events")
@table_import("events")
async def import_events(
    parts: "Parts",
    table: "Table",
    progress: "Progress",
    keywords: Mapping[str, Any],
    file: File,
    column: Column = None,
    rating_column: Annotated[
        str,
        typer.Option(
            help="Column of a rating that gives the action: >= 4 of 5 stars like, >= 3 click, <= 2 dislike, else impression."
        ),
    ] = "",
    rating_scale: Annotated[
        str, typer.Option(help="Lowest and highest rating, for example 1-10; by default 0.5-5, if none is above 5.")
    ] = "",
    action: Annotated[str, typer.Option(help="One action for every row, if there is no action column.")] = "",
    time_unit: Annotated[
        str,
        typer.Option(
            help="Unit of times that are numbers: s, ms, us or ns; by default the one that gives 1990 to 2100."
        ),
    ] = "",
    time_format: Annotated[
        str, typer.Option(help='How times are written if not as in ISO 8601, for example "%m/%d/%Y %I:%M:%S %p".')
    ] = "",
) -> "Report":
    """Import behaviour. Meanings: user, item, time, action, id, cover, decision, dwell_ms."""
    from eyecatch.core.types import Action
    from eyecatch.importing.events import EventColumns, import_events

    actions = {a.name.lower(): a for a in Action}
    if action and action.lower() not in actions:
        fail(f"error: --action {action}; allowed: {', '.join(actions)}")
    names = {k: v[-1] for k, v in mapping(column, EVENT_MEANINGS).items()}
    columns = EventColumns(
        **names,
        rating=rating_column,
        constant=actions[action.lower()] if action else None,
        scale=rating_scale,
        time_unit=time_unit,
        time_format=time_format,
    )
    stores = (parts.store.profiles, parts.store.catalog, parts.encoder)
    return await import_events(table, *stores, columns, progress, **keywords)


@app.command("users")
@table_import("users")
async def import_users(
    parts: "Parts",
    table: "Table",
    progress: "Progress",
    keywords: Mapping[str, Any],
    file: File,
    column: Column = None,
) -> "Report":
    """Import users' vectors of your own model, 1 to 1,024 numbers wide. Meanings: user, embedding (repeatable: the columns of one vector).

    A cell is a list, or numbers separated by "|", commas or spaces.
    """
    from eyecatch.importing.users import UserColumns, import_users
    from eyecatch.wiring.stores import vector_intake

    names = mapping(column, ("user", "embedding"))
    columns = UserColumns((names.get("user") or [""])[-1], tuple(names.get("embedding", ())))
    return await import_users(table, vector_intake(parts.store, parts.encoder), columns, progress, **keywords)


@app.command("set")
def import_set(
    folder: Annotated[Path, typer.Argument(help="Folder of a public data set, as it was downloaded and unpacked.")],
    kind: Annotated[
        str,
        typer.Option(
            help="movielens, movielens-100k, movielens-1m, mind, amazon, pixelrec or microlens; by default its files say it."
        ),
    ] = "",
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of its covers, named by item: ID.jpg.")
    ] = None,
    check: DryRun = False,
    refused: Refused = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Import the items, then the behaviour, of a public data set: MovieLens, MIND, Amazon reviews, PixelRec or MicroLens."""
    from eyecatch.importing.events import import_events
    from eyecatch.importing.items import import_items
    from eyecatch.importing.layouts import recognise
    from eyecatch.importing.report import ImportOptions
    from eyecatch.importing.tables import TableOptions

    with readable_errors():
        layout, items, events = recognise(folder, kind)
        tables = {"items": layout.items.open(items), "events": layout.events.open(events)}
        event_columns = layout.event_columns(tables["events"])

    async def store_items(
        parts: "Parts", table: "Table", progress: "Progress", keywords: Mapping[str, Any]
    ) -> "Report":
        columns = layout.item_columns(images is not None)
        stores = (parts.catalog, parts.blobs)
        report = await import_items(table, folder_of(images, folder), *stores, columns, progress, **keywords)
        await _encode_users(parts, report, keywords)
        return report

    async def store_events(
        parts: "Parts", table: "Table", progress: "Progress", keywords: Mapping[str, Any]
    ) -> "Report":
        stores = (parts.store.profiles, parts.store.catalog, parts.encoder)
        return await import_events(table, *stores, event_columns, progress, **keywords)

    typer.echo(f"{layout.name}: items from {items.name}, events from {events.name}", err=True)
    codes = []
    for what, run in (("items", store_items), ("events", store_events)):
        path = refused.with_stem(f"{refused.stem}-{what}") if refused else None
        reading = Reading(what, items, TableOptions(), ImportOptions(check), data_dir, path, json)
        codes.append(execute(reading, run, tables[what]))
    if any(codes):
        raise typer.Exit(max(codes))
