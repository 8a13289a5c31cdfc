"""eyecatch demo: the whole product on the sample catalogue, by the commands and the gRPC API that users have."""

import contextlib
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyecatch.commands.common import fail, print_table
from eyecatch.commands.comparison import Comparison

if TYPE_CHECKING:
    from eyecatch.client import Client
    from eyecatch.v1 import types_pb2

SAMPLE = Path(__file__).parents[1] / "sample"
# Users whose tastes differ in everything. The starter's training never saw a fox.
USERS = ("mia", "noah", "omar")
ITEMS = ("fox", "hamburger", "rocket", "guitar")
COVERS_EACH = 3
LIKED = 2
TRUSTING = ("--background-generation", "--made-covers", "trusted")
STYLES = {"3d": "3D drawings", "painted": "painted drawings", "flat": "flat shapes", "ink": "ink drawings"}
FRAMINGS = {"close": "close up", "medium": "medium size", "corner": "off-centre"}
LABELS = ("style", "palette", "backdrop", "framing")


def step(text: str) -> None:
    typer.secho(f"\n▸ {text}", bold=True, err=True)


def import_sample(data_dir: str) -> None:
    """Import the sample by the import commands; their progress goes to the terminal. Ends the process if one fails."""
    from eyecatch.commands.imports import app

    for what in ("items", "covers", "events"):
        if app([what, str(SAMPLE / f"{what}.csv"), "--data-dir", data_dir], standalone_mode=False):
            sys.exit(f"error: eyecatch import {what} failed")


def in_own_process(work: Callable[[str], None], argument: str) -> None:
    """Run `work` in a new process: the three imports load the packages of models once, and free their memory at the end."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(argument,))
    process.start()
    process.join()
    if process.exitcode:
        raise typer.Exit(1)


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[str]:
    """Run a server on a free port inside the context; yields its address."""
    # No exploration, so that choices are not random. The starter draws the sample well, so made covers are trusted.
    # Several jobs at a time share batches, and one is rated while others are drawn. The pool has room for every cover made.
    flags = ("--port", "0", "--exploration", "0", "--jobs", "4", "--pool-size", "64", *TRUSTING)
    process = subprocess.Popen(
        [sys.executable, "-m", "eyecatch.cli", "serve", "--data-dir", str(data_dir), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if "ready on" not in line:
            fail("error: the server did not start; try: eyecatch serve")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(30)


def recommend(client: "Client", user: str, items: Sequence[str]) -> "list[types_pb2.ScoredCover]":
    from eyecatch.v1 import covers_pb2

    answer = client.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(user_id=user, item_ids=items), timeout=10)
    return [i.covers[0] for i in answer.items]


def generate(client: "Client", comparisons: Sequence[Comparison], seed: int) -> None:
    """Draw COVERS_EACH new covers for each user and item, under a progress bar, and find the best by the user's score."""
    from rich.console import Console
    from rich.progress import Progress

    from eyecatch.v1 import covers_pb2

    # All calls start at once; the server takes the jobs in this order.
    streams = [
        client.covers.GenerateCovers(
            covers_pb2.GenerateCoversRequest(user_id=s.user, item_id=s.item, seed=seed, count=COVERS_EACH), timeout=300
        )
        for s in comparisons
    ]
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("generating", total=len(comparisons))
        for n, (s, stream) in enumerate(zip(comparisons, streams, strict=True)):
            progress.update(task, description=f"{s.item} for {s.user}")
            for update in stream:
                if update.WhichOneof("update") == "cover":
                    s.new.append(update.cover)
                elif update.progress.total_steps:
                    progress.update(task, completed=n + update.progress.step / update.progress.total_steps)
            progress.update(task, completed=n + 1)
    made_for = {cover.id: s.user for s in comparisons for cover in s.new}
    for s in comparisons:
        ranking = covers_pb2.RankCoversRequest(user_id=s.user, item_id=s.item, limit=100)
        s.choose_best(client.covers.RankCovers(ranking, timeout=10).covers, made_for)


def compare(data_dir: Path, out: Path, seed: int) -> list[Comparison]:
    from eyecatch.client import connect

    with running(data_dir) as address, connect(address) as client:
        step(f"serving on {address}; calling RecommendCovers for {len(USERS)} users × {len(ITEMS)} items")
        started = time.perf_counter()
        comparisons = [
            Comparison(u, i, c) for u in USERS for i, c in zip(ITEMS, recommend(client, u, ITEMS), strict=True)
        ]
        typer.echo(f"  answered in {(time.perf_counter() - started) / len(USERS) * 1e3:.1f} ms a user", err=True)
        step(f"GenerateCovers: {COVERS_EACH} new covers for each user and item (VLM → refiner → connector → diffusion)")
        started = time.perf_counter()
        generate(client, comparisons, seed)
        typer.echo(f"  {COVERS_EACH * len(comparisons)} covers in {time.perf_counter() - started:.0f} s", err=True)
        step("calling RecommendCovers again: does the new cover win?")
        for user in USERS:
            user_comparisons = [s for s in comparisons if s.user == user]
            for s, after in zip(user_comparisons, recommend(client, user, ITEMS), strict=True):
                s.after = after
        draw(client, comparisons, out)
    return comparisons


def draw(client: "Client", comparisons: Sequence[Comparison], out: Path) -> None:
    """Draw a block for each user: liked covers, and for each item the pool's best cover over the best made one, with the reason."""
    from icg.comparison_sheet import Choice, UserBlock, comparison_sheet
    from icg.pictures import decode
    from PIL import Image

    from eyecatch.v1 import catalog_pb2, covers_pb2

    def image(cover_id: str) -> Image.Image:
        request = covers_pb2.GetCoverRequest(cover_id=cover_id, include_image=True)
        answer: covers_pb2.GetCoverResponse = client.covers.GetCover(request, timeout=10)
        return decode(answer.cover.image)

    titles = [client.catalog.GetItem(catalog_pb2.GetItemRequest(item_id=i), timeout=10).item.title for i in ITEMS]
    tastes = {row["user_id"]: row for row in sample_table("users")}
    blocks = []
    for user in USERS:
        mine = [s for s in comparisons if s.user == user]
        choices = [
            Choice(image(s.before.cover_id), image(s.shown) if s.shown else None, s.won, s.headline, s.reason)
            for s in mine
        ]
        blocks.append(
            UserBlock(
                user,
                f"Simulated taste: {in_words(tastes[user])}",
                [image(cover) for cover in liked_covers(tastes[user])],
                ("best of the pool", f"made for {user}"),
                f"{sum(s.won for s in mine)} of {len(mine)}",
                f"made covers win for {user}",
                choices,
            )
        )
    subtitle = (
        "The same items for three simulated users: the best cover of the pool, below it the best one made for the user. "
        "Framed: what the user gets now."
    )
    comparison_sheet(blocks, titles, "Eyecatch", subtitle).save(out)


def sample_table(name: str) -> list[dict[str, str]]:
    """The rows of a table of the sample."""
    import csv

    with (SAMPLE / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def in_words(taste: Mapping[str, str]) -> str:
    """The taste with which a user of the sample was simulated."""
    return f"{taste['palette']} colours, {taste['backdrop']}, {STYLES[taste['style']]}, {FRAMINGS[taste['framing']]}"


def liked_covers(taste: Mapping[str, str]) -> list[str]:
    """LIKED covers that the user of this taste liked: those that show most of it, of items that the sheet does not show below."""
    likes = {r["cover_id"] for r in sample_table("events") if (r["user_id"], r["action"]) == (taste["user_id"], "like")}
    covers = [c for c in sample_table("covers") if c["cover_id"] in likes and c["item_id"] not in ITEMS]
    covers.sort(key=lambda c: -sum(c[label] == taste[label] for label in LABELS))
    return [c["cover_id"] for c in covers[:LIKED]]


def demo(
    out: Annotated[Path, typer.Option("--out", help="Contact sheet to write.", dir_okay=False)] = Path("demo.png"),
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep the data folder here, to serve it afterwards.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the generated covers.")] = 7,
) -> None:
    """Import the sample, serve it, recommend, generate, recommend again, and draw a contact sheet."""
    with contextlib.ExitStack() as stack:
        data: Any = keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="eyecatch-demo-"))
        folder = Path(data)
        step("importing the sample: items, their covers, and the simulated behaviour of six people")
        in_own_process(import_sample, str(folder))
        comparisons = compare(folder, out, seed)
    rows = [
        (
            s.user,
            s.item,
            f"{s.before.score:+.2f}",
            f"{s.after.score:+.2f}" if s.after else "-",
            s.headline,
        )
        for s in comparisons
    ]
    print_table("before and after", ("user", "item", "best before", "best after", ""), rows)
    won = sum(s.won for s in comparisons)
    typer.echo(f"{won} of {len(comparisons)} made covers win. Open {out} to see them.")
    typer.echo("Next: eyecatch demo --keep demo-data, then, with another terminal for the rest:")
    typer.echo(f"  eyecatch serve --data-dir demo-data {' '.join(TRUSTING)}")
    typer.echo("  eyecatch recommend fox hamburger --user noah")
    typer.echo("  eyecatch draw rocket --user mia --out covers/")
    typer.echo("Your own catalogue: README.md, 'Five minutes to your own catalogue'.")
