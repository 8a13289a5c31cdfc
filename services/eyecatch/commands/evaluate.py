"""eyecatch evaluate: recall on stored behaviour of a data folder that no server uses. `icg evaluate` evaluates checkpoints."""

from typing import Annotated

import typer

from eyecatch.commands.common import DEFAULT_DATA, DataDir, Json, print_json, print_table, readable_errors
from eyecatch.config import Config
from eyecatch.settings import resolved

app = typer.Typer(help="Offline evaluation.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Offline evaluation."""


@app.command("recall")
def recall(
    k: Annotated[list[int] | None, typer.Option("--k", help="Values of K; repeat for more.")] = None,
    leave_out: Annotated[int, typer.Option(help="Latest engaged items of each user to hold out.")] = 5,
    min_events: Annotated[int, typer.Option(help="Users with fewer engaged items are left out.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the random and shuffled controls.")] = 0,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Measure Recall@K of held-out events (leave-last-n for each user), and of popularity, random and shuffled users as controls."""
    import asyncio

    from eyecatch.evaluate.recall import KS, Recall
    from eyecatch.evaluate.recall import recall as measure
    from eyecatch.wiring.stores import open_parts

    async def run() -> Recall:
        async with open_parts(resolved(Config, {"data_dir": data_dir})) as parts:
            ks = tuple(k) if k else KS
            return await measure(
                parts.store.catalog,
                parts.store.profiles,
                ks=ks,
                leave_out=leave_out,
                min_events=min_events,
                seed=seed,
                encoder=parts.encoder,
            )

    with readable_errors():
        result = asyncio.run(run())
    if json:
        return print_json(result.as_dict())
    cutoffs = sorted(next(iter(result.recall.values())))
    rows = [
        (name, *(f"{by_k[c].mean:.4f} ({by_k[c].low:.4f}-{by_k[c].high:.4f})" for c in cutoffs))
        for name, by_k in result.recall.items()
    ]
    title = f"recall over {result.users} users, {result.items} items, {result.held_out} held-out events (95 % interval)"
    print_table(title, ("ranking", *(f"@{c}" for c in cutoffs)), rows)
    typer.echo(result.note)
