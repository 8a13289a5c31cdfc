"""eyecatch users reencode, items reembed, clusters show | fit: upkeep of a state, in this process."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import DEFAULT_DATA, DataDir, Json, fail, print_json, print_table, readable_errors
from eyecatch.config import Config, resolve

if TYPE_CHECKING:
    from eyecatch.core.ports import Stores
    from eyecatch.core.tastes.clusters import TasteClusters
    from eyecatch.upkeep.sweep import SweepProgress

Tell = Callable[[int], None]


def progress(
    what: str, data_dir: str, verb: "Callable[[Config, Stores, Tell], Awaitable[int]]", any_space: bool
) -> int:
    """Open the state, run the verb under a progress bar and return what it returns."""
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from eyecatch.wiring.stores import open_stores

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    async def run() -> int:
        config = resolve({"data_dir": data_dir})
        async with open_stores(config, any_space) as stores:
            users = not any_space
            total = await stores.profiles.user_count() if users else (await stores.catalog.counts())[1]
            with Progress(*columns, console=Console(stderr=True)) as bar:
                task = bar.add_task("", total=total)
                return await verb(config, stores, lambda done: bar.update(task, completed=done))

    with readable_errors():
        return asyncio.run(run())


def reencode(
    share: Annotated[float, typer.Option(help="Share of the time to be busy, above 0 to 1.", min=0.01, max=1.0)] = 1.0,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Encode anew every user that another encoder encoded. A Redis store may be in use; cut short, the next run does the rest."""

    async def verb(config: "Config", stores: "Stores", tell: Tell) -> int:
        from eyecatch.upkeep.sweep import announce, sweep
        from eyecatch.wiring.stores import current_encoder

        encoder = await current_encoder(config, stores)
        await announce(stores.notes, encoder)

        def show(swept: "SweepProgress") -> None:
            tell(swept.checked)

        return (await sweep(stores.profiles, stores.notes, encoder, show, share)).rewritten

    done = progress("users", data_dir, verb, any_space=False)
    print_json({"reencoded": done}) if json else typer.echo(f"{done} users encoded anew")


def reembed(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Embed all covers with the checkpoint's model, after it was replaced by another. No server may use the state meanwhile."""

    async def verb(config: "Config", stores: "Stores", tell: Tell) -> int:
        from eyecatch.encoders.learned import cover_space
        from eyecatch.generators.local import LocalGenerator
        from eyecatch.stores.blobs import FsspecBlobs
        from eyecatch.upkeep.spaces import reembed as embed
        from eyecatch.wiring.generator import engaging
        from eyecatch.wiring.stores import checkpoint

        folder = checkpoint(config)
        generator, space = LocalGenerator(folder, engaging=engaging(config)), cover_space(folder)
        try:
            return await embed(stores.catalog, stores.notes, FsspecBlobs(config.blobs), generator, space, tell)
        finally:
            await generator.close()

    done = progress("covers", data_dir, verb, any_space=True)
    print_json({"reembedded": done}) if json else typer.echo(f"{done} covers embedded")


clusters = typer.Typer(
    help="Taste clusters of a state: a Redis store may be in use, an SQLite one not.", no_args_is_help=True
)


@clusters.command("fit")
def fit(
    count: Annotated[int, typer.Option(help="Clusters at most.", min=2, max=4096)] = 64,
    least: Annotated[int, typer.Option(help="Users of whom a cluster is the mean at least.", min=2)] = 20,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Fit the taste clusters to the users of now, once; for a cron job where servers run with --clusters-every-s 0."""

    async def work(config: "Config", stores: "Stores") -> "TasteClusters | None":
        from eyecatch.upkeep.clusters import ClusterOptions, refit
        from eyecatch.wiring.stores import current_encoder

        encoder = await current_encoder(config, stores)
        return await refit(stores.profiles, stores.notes, encoder, ClusterOptions(count, least))

    found = _opened(data_dir, work)
    if found is None:
        fail(
            f"error: nothing was fitted; needs at least {4 * least} users of known taste, encoded by the current encoder"
        )
    _print(found, json)


@clusters.command("show")
def show(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """The taste clusters fitted last, with their drift since the fit before."""

    async def work(config: "Config", stores: "Stores") -> "TasteClusters | None":
        from eyecatch.upkeep.clusters import load
        from eyecatch.wiring.stores import current_encoder

        return await load(stores.notes, await current_encoder(config, stores))

    found = _opened(data_dir, work)
    if found is None:
        fail("error: no taste clusters were fitted with the current encoder; try: eyecatch clusters fit")
    _print(found, json)


def _opened(
    data_dir: str, work: "Callable[[Config, Stores], Awaitable[TasteClusters | None]]"
) -> "TasteClusters | None":
    import asyncio

    from eyecatch.wiring.stores import open_stores

    async def run() -> "TasteClusters | None":
        config = resolve({"data_dir": data_dir})
        async with open_stores(config) as stores:
            return await work(config, stores)

    with readable_errors():
        return asyncio.run(run())


def _print(found: "TasteClusters", json: bool) -> None:
    from datetime import UTC, datetime

    if json:
        return print_json(
            {
                "generation": found.generation, "encoder": found.encoder, "users": found.users,
                "fitted_at": found.fitted_at, "moved": found.moved,
                "shares": found.shares.tolist(), "drift": found.drift.tolist(),
            }
        )  # fmt: skip
    when = datetime.fromtimestamp(found.fitted_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    title = f"generation {found.generation} of {when}: {found.alive} clusters of {found.users} users, {found.moved:.1%} moved"
    rows = [(n, f"{found.shares[n]:.2%}", f"{found.drift[n]:.4f}") for n in found.shares.nonzero()[0]]
    print_table(title, ("cluster", "users", "drift (1 - cosine)"), rows)


def register(users: typer.Typer, items: typer.Typer) -> None:
    users.command()(reencode)
    items.command()(reembed)
