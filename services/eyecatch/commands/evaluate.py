"""eyecatch evaluate: recall on stored behaviour (of a data folder that no server is using), and personalisation of a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from eyecatch.commands.common import DEFAULT_DATA, DataDir, Json, fail, print_json, print_table, readable_errors
from eyecatch.config import resolve

app = typer.Typer(help="Offline evaluation.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Offline evaluation."""


@app.command("recall")
def recall(
    k: Annotated[list[int] | None, typer.Option("--k", help="Cut-offs; repeat for more.")] = None,
    leave_out: Annotated[int, typer.Option(help="Latest engaged items of each user that are held out.")] = 5,
    min_events: Annotated[int, typer.Option(help="Users with fewer engaged items are left out.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the random and shuffled controls.")] = 0,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Recall@K over held-out events, per user leave-last-n, beside popularity, random and shuffled users."""
    import asyncio

    from eyecatch.evaluate.recall import KS, Recall
    from eyecatch.evaluate.recall import recall as verb
    from eyecatch.wiring.stores import open_parts

    async def run() -> Recall:
        async with open_parts(resolve({"data_dir": data_dir})) as parts:
            ks = tuple(k) if k else KS
            return await verb(
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


@app.command("personalisation")
def personalisation(
    art: Annotated[Path, typer.Option(help="A node_modules folder with the emoji packages of the starter's recipe.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Starter-shaped folder; default: the shipped starter.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other users, items and noise.", min=1)] = 3,
    count: Annotated[int, typer.Option(help="Covers a figure, at most 100.", min=4, max=100)] = 100,
    without: Annotated[
        Path | None, typer.Option(help="Adapter trained without dispersion, for dispersion_ratio.")
    ] = None,
    before: Annotated[Path | None, typer.Option(help="Adapter before alignment, for diversity_ratio.")] = None,
    second: Annotated[
        Path | None,
        typer.Option(help="Folder of a dual encoder (icg.train.starter.dual --judge) that judges titles too."),
    ] = None,
    ablations: Annotated[
        bool,
        typer.Option(
            "--ablations",
            help="Also covers from the reference alone, two references, a reference only read, the best of four draws.",
        ),
    ] = False,
) -> None:
    """Do covers show their title and suit their user? On held-out SIMULATED users and titles, with controls."""
    from json import dumps

    from icg import starter
    from icg.evaluate.personalisation import Compared, measure

    with readable_errors():
        found = measure(checkpoint or starter.path(), art, seeds, count, Compared(without, before), second, ablations)
    rows = [(name, f"{v['mean']:.3f} ± {v['deviation']:.3f}" if v else "not asked for") for name, v in found.items()]
    print_table(f"personalisation, {seeds} seeds, {count} covers a figure, SIMULATED users", ("figure", "mean"), rows)
    typer.echo(dumps({name: v and round(v["mean"], 4) for name, v in found.items()}))


@app.command("reliability")
def reliability(
    art: Annotated[Path, typer.Option(help="A node_modules folder with the emoji packages of the starter's recipe.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Starter-shaped folder with controlnet/ and reliability/; default: the shipped starter."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other products, places and noise.", min=1)] = 3,
    count: Annotated[int, typer.Option(help="Briefs a round, four pictures each.", min=2, max=200)] = 24,
    before: Annotated[Path | None, typer.Option(help="ControlNet before RFFT.")] = None,
    no_regulariser: Annotated[Path | None, typer.Option(help="ControlNet tuned without a regulariser.")] = None,
    kl: Annotated[Path | None, typer.Option(help="ControlNet tuned with KL in place of consistent condition.")] = None,
    image_only: Annotated[
        Path | None, typer.Option(help="Judge that sees the picture alone, for rfnet_f1_gain.")
    ] = None,
    second: Annotated[Path | None, typer.Option(help="Judge that RFFT never met, to judge too.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Picture file for a contact sheet.", dir_okay=False)] = None,
) -> None:
    """Could its product pictures be shown? On held-out products, before and after RFFT, by three judges."""
    from json import dumps

    from icg import starter
    from icg.errors import IcgError
    from icg.evaluate.reliability import Compared, measure

    try:
        compared = Compared(before, no_regulariser, kl, image_only, second)
        found, table = measure(checkpoint or starter.path(), art, seeds, count, compared, sheet)
    except IcgError as error:
        fail(f"error: {error}")
    columns = sorted({name for row in table.values() for name in row})
    rows = [(kind, *(f"{row[c][0]:.3f} ± {row[c][1]:.3f}" for c in columns)) for kind, row in table.items()]
    print_table(f"product pictures, {seeds} seeds, {count} briefs x 4 pictures", ("ControlNet", *columns), rows)
    typer.echo(dumps({name: value and round(value[0], 4) for name, value in found.items()}))


@app.command("design")
def design(
    art: Annotated[Path, typer.Option(help="A node_modules folder with the emoji packages of the starter's recipe.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Starter-shaped folder; default: the shipped starter.")
    ] = None,
    designs: Annotated[
        Path | None, typer.Option(help="Folder of icg.train.engagement.design, for bucket_order_share.")
    ] = None,
    products: Annotated[
        Path | None, typer.Option(help="Folder of trained products, or where to train them (hours), for identity.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of the sample's covers, for upscaler_psnr_gain.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other accounts, users and noise.", min=1)] = 3,
    posts: Annotated[int, typer.Option(help="SIMULATED posts a round.", min=300)] = 3000,
    items: Annotated[int, typer.Option(help="Items a round that designs are written for.", min=4)] = 30,
) -> None:
    """Engagement, designs, segments, products and the upscaler, each beside its baselines. On held-out SIMULATED accounts and users."""
    from json import dumps

    from icg import starter
    from icg.errors import IcgError
    from icg.train.studies.design_measure import Extent, Folders, measure

    try:
        folders = Folders(checkpoint or starter.path(), art, designs, products, pictures)
        found, tables = measure(folders, Extent(seeds, posts=posts, items=items))
    except IcgError as error:
        fail(f"error: {error}")
    for name, table in tables.items():
        columns = list(dict.fromkeys(column for row in table.values() for column in row))
        rows = [(kind, *(_spread(row.get(column)) for column in columns)) for kind, row in table.items()]
        print_table(f"{name}, {seeds} seeds", ("", *columns), rows)
    typer.echo(dumps({name: values and round(sum(values) / len(values), 4) for name, values in found.items()}))


def _spread(values: list[float] | None) -> str:
    """Mean and standard deviation over seeds."""
    from statistics import mean, pstdev

    return f"{mean(values):.3f} ± {pstdev(values):.3f}" if values else ""
