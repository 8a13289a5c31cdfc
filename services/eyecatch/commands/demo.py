"""eyecatch demo: the whole product on the sample catalogue, by the commands and the gRPC API that users have."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyecatch.commands.common import fail, print_table

if TYPE_CHECKING:
    from eyecatch.client import Client
    from eyecatch.v1 import types_pb2

SAMPLE = Path(__file__).parents[1] / "sample"
USERS = ("mia", "noah", "lena")
ITEMS = ("panda", "rocket", "fox", "pizza")
COVERS_EACH = 3
TRUSTING = ("--background-generation", "--made-covers", "trusted")


@dataclass
class Comparison:
    """One user and one item: the best cover before and after generation, and the new covers with the best of them."""

    user: str
    item: str
    before: "types_pb2.ScoredCover"
    after: "types_pb2.ScoredCover | None" = None
    new: "list[types_pb2.Cover]" = field(default_factory=list)
    best: "types_pb2.ScoredCover | None" = None

    @property
    def won(self) -> bool:
        """Whether the user now gets a cover that was made for this user."""
        return self.after is not None and self.best is not None and self.after.cover_id == self.best.cover_id

    @property
    def image(self) -> bytes:
        """The best new cover, or one that failed a gate if all did."""
        shown = self.best.cover_id if self.best else ""
        return next((c.image for c in self.new if c.id == shown), self.new[0].image if self.new else b"")

    @property
    def verdict(self) -> str:
        """What the new covers came to, in words."""
        if self.best is None:
            return "not shown: " + "; ".join(self.new[0].reasons if self.new else ["none was drawn"])
        return f"new, score {self.best.score:+.2f}" + (" · wins" if self.won else "")


def step(text: str) -> None:
    typer.secho(f"\n▸ {text}", bold=True, err=True)


def command(*args: str) -> None:
    """Run a command of `eyecatch`; its progress goes to the terminal."""
    if subprocess.run([sys.executable, "-m", "eyecatch.cli", *args], check=False).returncode:
        fail(f"error: eyecatch {' '.join(args)} failed")


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[str]:
    """Run a server on a free port inside the context; yields its address."""
    # No exploration, so that choices are not random. The starter draws the sample well, so made covers are trusted.
    flags = ("--port", "0", "--exploration", "0", *TRUSTING)
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

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("generating", total=len(comparisons))
        for n, s in enumerate(comparisons):
            progress.update(task, description=f"{s.item} for {s.user}")
            request = covers_pb2.GenerateCoversRequest(user_id=s.user, item_id=s.item, seed=seed, count=COVERS_EACH)
            for update in client.covers.GenerateCovers(request, timeout=120):
                if update.WhichOneof("update") == "cover":
                    s.new.append(update.cover)
                elif update.progress.total_steps:
                    progress.update(task, completed=n + update.progress.step / update.progress.total_steps)
            progress.update(task, completed=n + 1)
    for s in comparisons:
        ranking = covers_pb2.RankCoversRequest(user_id=s.user, item_id=s.item, limit=100)
        ids = {c.id for c in s.new}
        s.best = next((c for c in client.covers.RankCovers(ranking, timeout=10).covers if c.cover_id in ids), None)


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
    """Draw two rows for each user: the best existing covers, and the covers made for the user, with frames around winners."""
    from icg.contact_sheet import Cell, Row, contact_sheet
    from icg.pictures import decode
    from PIL import Image

    from eyecatch.v1 import catalog_pb2, covers_pb2

    def image(cover_id: str) -> Image.Image:
        request = covers_pb2.GetCoverRequest(cover_id=cover_id, include_image=True)
        answer: covers_pb2.GetCoverResponse = client.covers.GetCover(request, timeout=10)
        return decode(answer.cover.image)

    titles = [client.catalog.GetItem(catalog_pb2.GetItemRequest(item_id=i), timeout=10).item.title for i in ITEMS]
    tastes = sample_tastes()
    rows = []
    for user in USERS:
        mine = [s for s in comparisons if s.user == user]
        before = [Cell(image(s.before.cover_id), f"best of the pool, score {s.before.score:+.2f}") for s in mine]
        rows.append(Row(user, f"likes {tastes[user]} (simulated). Above: the best existing covers.", before))
        cells = [Cell(decode(s.image) if s.image else None, s.verdict, s.won) for s in mine]
        rows.append(Row("", f"Made for {user}, best of {COVERS_EACH}; framed if it now wins.", cells))
    contact_sheet(rows, titles, "Eyecatch", "the same items for three users, before and after generation").save(out)


def sample_tastes() -> dict[str, str]:
    import csv

    with (SAMPLE / "users.csv").open(encoding="utf-8") as file:
        return {
            r["user_id"]: f"{r['style']}, {r['palette']}, {r['backdrop']}, {r['framing']}" for r in csv.DictReader(file)
        }


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
        for what in ("items", "covers", "events"):
            command("import", what, str(SAMPLE / f"{what}.csv"), "--data-dir", str(folder))
        comparisons = compare(folder, out, seed)
    rows = [
        (
            s.user,
            s.item,
            f"{s.before.score:+.2f}",
            f"{s.after.score:+.2f}" if s.after else "-",
            "new cover wins" if s.won else "",
        )
        for s in comparisons
    ]
    print_table("before and after", ("user", "item", "best before", "best after", ""), rows)
    won = sum(s.won for s in comparisons)
    typer.echo(f"{won} of {len(comparisons)} new covers win. Open {out} to see them.")
    typer.echo("Next: eyecatch demo --keep demo-data, then, with another terminal for the rest:")
    typer.echo(f"  eyecatch serve --data-dir demo-data {' '.join(TRUSTING)}")
    typer.echo("  eyecatch recommend panda pizza --user noah")
    typer.echo("  eyecatch draw rocket --user mia --out covers/")
    typer.echo("Your own catalogue: README.md, 'Five minutes to your own catalogue'.")
