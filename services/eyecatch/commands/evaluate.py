"""eyecatch evaluate: recall on stored behaviour of a data folder that no server uses. `icg evaluate` evaluates checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import (
    DEFAULT_DATA,
    DataDir,
    Json,
    Ray,
    existing,
    print_json,
    print_table,
    readable_errors,
    shard_runner,
)
from eyecatch.config import Config
from eyecatch.settings import resolved

if TYPE_CHECKING:
    from eyecatch.evaluate.results import Recall

app = typer.Typer(help="Offline evaluation.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Offline evaluation."""


@app.command("recall")
def recall(
    k: Annotated[list[int] | None, typer.Option("--k", help="Values of K; repeat for more.")] = None,
    leave_out: Annotated[int, typer.Option(help="Latest engaged items of each user to hold out.")] = 5,
    min_events: Annotated[int, typer.Option(help="Users with fewer engaged items are left out.")] = 10,
    split: Annotated[
        str, typer.Option(help="last: hide each user's latest; time: hide what happened after a point in time.")
    ] = "last",
    time_share: Annotated[float, typer.Option(help="With --split time: the share of engagements before it.")] = 0.9,
    target: Annotated[str, typer.Option(help="What is hidden and predicted: engaged, or liked alone.")] = "engaged",
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Also train the sequence encoder and tune other recommenders (extra: peers)."),
    ] = False,
    trials: Annotated[
        int, typer.Option(help="With --peers: configurations tried on a validation split, for each.")
    ] = 4,
    seeds: Annotated[int, typer.Option(help="With --peers: fits of each ranking that depends on chance.")] = 3,
    steps: Annotated[int, typer.Option(help="With --peers: training steps of SASRec and of the encoder.")] = 600,
    seed: Annotated[int, typer.Option(help="Seed of the random and shuffled controls.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of report.html and of all results; a job that was killed goes on from it."),
    ] = None,
    ray: Ray = "",
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Measure how well rankings of all items find held-out events: the stored kind of profile, popularity, random and shuffled users as
    controls, and with --peers tuned recommenders, whose summary is the last line, as JSON."""
    import asyncio
    import json as text

    from eyecatch.evaluate.recall import Outcome
    from eyecatch.evaluate.recall import recall as measure
    from eyecatch.evaluate.report import page
    from eyecatch.evaluate.settings import KS, RecallSettings
    from eyecatch.shards import Runner
    from eyecatch.upkeep.clusters import load
    from eyecatch.wiring.stores import open_parts

    async def run(runner: Runner) -> Outcome:
        settings = RecallSettings(
            ks=tuple(k) if k else KS,
            split=split,
            leave_out=leave_out,
            least=min_events,
            share=time_share,
            target=target,
            seed=seed,
            peers=peers,
            trials=trials,
            seeds=seeds,
            steps=steps,
        )
        async with open_parts(existing(data_dir)) as parts:
            outcome = await measure(
                parts.store.catalog,
                parts.store.profiles,
                settings,
                encoder=parts.encoder,
                clusters=await load(parts.store.notes, parts.encoder),
                out=out,
                runner=runner,
                log=lambda line: typer.echo(line, err=True),
            )
            if out is not None:
                (out / "report.html").write_text(await page(outcome, parts.blobs), encoding="utf-8")
                (out / "recall.json").write_text(text.dumps(outcome.result.as_dict(), indent=2), encoding="utf-8")
            return outcome

    with readable_errors(), shard_runner(ray) as runner:
        result = asyncio.run(run(runner)).result
    if json:
        print_json(result.as_dict())
    else:
        _print(result)
        if out is not None:
            typer.echo(f"report: {out / 'report.html'}")
    if peers:
        typer.echo(text.dumps(result.summary()))


@app.command("policy")
def policy(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of policy.json and of all results; a job that was killed goes on from it."),
    ] = None,
    ray: Ray = "",
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Estimate from logged decisions which share of covers users would have answered under other policies, by inverse propensities:
    any cover, the item's own, the best by rewards, for the user, and for another user as a control. The last line is JSON."""
    import asyncio
    import json as text

    from eyecatch.evaluate.policy import PolicyResult
    from eyecatch.evaluate.policy import policy as estimate
    from eyecatch.shards import Runner
    from eyecatch.wiring.generator import scoring
    from eyecatch.wiring.stores import checkpoint, current_encoder, open_stores

    async def run(runner: Runner) -> PolicyResult:
        config = resolved(Config, {"data_dir": data_dir})
        async with open_stores(config) as stores:
            return await estimate(
                stores.catalog,
                stores.profiles,
                stores.decisions,
                await current_encoder(config, stores),
                scoring(config, checkpoint(config)),
                config.made_covers,
                out=out,
                runner=runner,
            )

    with readable_errors(), shard_runner(ray) as runner:
        result = asyncio.run(run(runner))
    if out is not None:
        (out / "policy.json").write_text(text.dumps(result.as_dict(), indent=2), encoding="utf-8")
    if json:
        print_json(result.as_dict())
        return
    rows = [
        (name, str(p.snips), str(p.ahead), f"{p.weight:.3f}", f"{p.matched:.1%}", f"{p.effective:.0f}")
        for name, p in result.policies.items()
    ]
    heading = f"{result.rows} covers shown to {result.users} users, answered {result.answered} (95 % interval)"
    print_table(
        heading, ("policy", "answered (SNIPS)", "minus the log", "mean weight", "rows that count", "worth"), rows
    )
    for reason, count in result.counts.items():
        typer.echo(f"{reason}: {count}")
    typer.echo(text.dumps(result.summary()))


def _print(result: "Recall") -> None:
    names = list(next(iter(result.rankings.values())).figures)
    rows = [(name, *(str(row.figures[n]) for n in names)) for name, row in result.rankings.items()]
    what = f"{result.users} users, {result.items} items, {result.held_out} held-out events (95 % interval)"
    print_table(f"recall over {what}", ("ranking", *names), rows)
    for reason, count in result.counts.items():
        typer.echo(f"{reason}: {count}")
    for one in result.cold_items:
        typer.echo(f"{one.name}, {one.hidden} hidden items without a known engagement: {one.over_random} times chance")
    typer.echo(result.note)
