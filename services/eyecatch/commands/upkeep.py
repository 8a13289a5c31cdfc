"""eyecatch users reencode | digest, items reembed, clusters show | fit: upkeep of a state, in this process."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import DEFAULT_DATA, Answer, DataDir, Json, Ray, fail, run_on_stores, shard_runner

if TYPE_CHECKING:
    from eyecatch.config import Config
    from eyecatch.core.ports import Stores
    from eyecatch.core.tastes.clusters import TasteClusters
    from eyecatch.upkeep.sweep import SweepProgress

OnProgress = Callable[[int], None]


def run_with_progress(
    what: str, data_dir: str, work: "Callable[[Config, Stores, OnProgress], Awaitable[int]]", any_space: bool
) -> int:
    """The result of `work` on the opened stores, under a progress bar of users, or of covers with `any_space`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    async def run(config: "Config", stores: "Stores") -> int:
        total = (await stores.catalog.counts())[1] if any_space else await stores.profiles.user_count()
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=total)
            return await work(config, stores, lambda done: bar.update(task, completed=done))

    return run_on_stores(data_dir, run, any_space)


def reencode(
    share: Annotated[float, typer.Option(help="Part of the time to work, above 0 to 1.", min=0.01, max=1.0)] = 1.0,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Encode users of other encoder versions again. A Redis store may be in use. After an interruption the next run does the rest."""

    async def work(config: "Config", stores: "Stores", on_progress: OnProgress) -> int:
        from eyecatch.upkeep.sweep import announce, sweep
        from eyecatch.wiring.stores import current_encoder

        encoder = await current_encoder(config, stores)
        await announce(stores.notes, encoder)

        def show(progress: "SweepProgress") -> None:
            on_progress(progress.checked)

        return (await sweep(stores.profiles, stores.notes, encoder, show, share)).rewritten

    done = run_with_progress("users", data_dir, work, any_space=False)
    Answer({"reencoded": done}, f"{done} users encoded again").print(json)


def digest(
    user: Annotated[str, typer.Argument(help="User id.")], data_dir: DataDir = DEFAULT_DATA, json: Json = False
) -> None:
    """Print the digest under which a user is in the audit log; works beside a server."""

    async def work(config: "Config", stores: "Stores") -> bytes | None:
        from eyecatch.api.identity.audit import KEY_NOTE

        return await stores.notes.read(KEY_NOTE)

    from eyecatch.api.identity.audit import user_digest

    key = run_on_stores(data_dir, work, any_space=True, read_only=True)
    if key is None:
        fail("error: no server with --audit-log has used this store")
    text = user_digest(key, user)
    Answer({"digest": text}, text).print(json)


def reembed(ray: Ray = "", data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Embed and rate all covers anew, after the checkpoint or the space was replaced. No server may use the state meanwhile. After an
    interruption the next run does the rest."""

    async def work(config: "Config", stores: "Stores", on_progress: OnProgress) -> int:
        from eyecatch.encoders.learned import cover_space
        from eyecatch.shards import opened, waited
        from eyecatch.stores.blobs import FsspecBlobs
        from eyecatch.upkeep.spaces import Embed
        from eyecatch.upkeep.spaces import reembed as embed
        from eyecatch.wiring.bulk import OpenEmbedder, closed, interrupted
        from eyecatch.wiring.stores import checkpoint

        space = cover_space(checkpoint(config), config.space_folder)
        model = OpenEmbedder(config)
        with shard_runner(ray, gpu=True) as runner, interrupted(config, "reembed") as results:
            async with closed(model, not ray):
                if not ray:  # a checkpoint that cannot be loaded is refused before anything is rewritten
                    await asyncio.to_thread(lambda: waited(opened(model).load()))
                shards = Embed(FsspecBlobs(config.blobs), model, model.model)
                return await embed(stores.catalog, stores.notes, shards, space, results, runner, on_progress)

    done = run_with_progress("covers", data_dir, work, any_space=True)
    Answer({"reembedded": done}, f"{done} covers embedded").print(json)


clusters = typer.Typer(
    help="Taste clusters of a state. `fit` needs an SQLite store for itself; `show` also works beside a server.",
    no_args_is_help=True,
)


@clusters.command("fit")
def fit(
    count: Annotated[int, typer.Option(help="Clusters at most.", min=2, max=4096)] = 64,
    least: Annotated[int, typer.Option(help="Users of a cluster at least.", min=2)] = 20,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Fit the taste clusters to the current users, once; for a cron job if servers run with --clusters-every-s 0."""

    async def work(config: "Config", stores: "Stores") -> "TasteClusters | None":
        from eyecatch.upkeep.clusters import ClusterOptions, refit
        from eyecatch.wiring.stores import current_encoder

        encoder = await current_encoder(config, stores)
        return await refit(stores.profiles, stores.notes, encoder, ClusterOptions(count, least), stores.clock())

    fitted = run_on_stores(data_dir, work)
    if fitted is None:
        fail(
            f"error: nothing was fitted; needs at least {4 * least} users of known taste, encoded by the current encoder"
        )
    _answer(fitted).print(json)


@clusters.command("show")
def show(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Show the last fitted taste clusters, with their drift since the fit before."""

    async def work(config: "Config", stores: "Stores") -> "TasteClusters | None":
        from eyecatch.upkeep.clusters import load
        from eyecatch.wiring.stores import current_encoder

        return await load(stores.notes, await current_encoder(config, stores))

    stored = run_on_stores(data_dir, work, read_only=True)
    if stored is None:
        fail("error: no taste clusters were fitted with the current encoder; try: eyecatch clusters fit")
    _answer(stored).print(json)


def _answer(t: "TasteClusters") -> Answer:
    from datetime import UTC, datetime

    data = {name: getattr(t, name) for name in ("generation", "encoder", "users", "fitted_at", "moved")}
    data |= {"shares": t.shares.tolist(), "drift": t.drift.tolist()}
    when = datetime.fromtimestamp(t.fitted_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    title = f"generation {t.generation} of {when}: {t.alive} clusters of {t.users} users, {t.moved:.1%} moved"
    rows = [(n, f"{t.shares[n]:.2%}", f"{t.drift[n]:.4f}") for n in t.shares.nonzero()[0]]
    return Answer(data, title, ("cluster", "users", "drift (1 - cosine)"), rows)


def register(users: typer.Typer, items: typer.Typer) -> None:
    users.command()(reencode)
    users.command()(digest)
    items.command()(reembed)
