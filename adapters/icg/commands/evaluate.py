"""icg evaluate: figures of a checkpoint, each with its baselines and controls. On SIMULATED users and accounts."""

from pathlib import Path
from typing import Annotated

import typer

from icg.commands.common import Art, Checkpoint, fail, print_json, print_table, refusals

app = typer.Typer(help="Measure the quality of a checkpoint.", no_args_is_help=True)


@app.command("personalisation")
def personalisation(
    art: Annotated[
        Path | None, typer.Option(help="A node_modules folder with the emoji packages of the starter's recipe.")
    ] = None,
    checkpoint: Checkpoint = None,
    seeds: Annotated[
        int, typer.Option(help="Rounds with other items and noise; without --permutations with other users too.", min=1)
    ] = 3,
    count: Annotated[int, typer.Option(help="Covers a figure, or a round, at most 100.", min=4, max=100)] = 100,
    without: Annotated[
        Path | None, typer.Option(help="Adapter trained without dispersion, for dispersion_ratio.")
    ] = None,
    before: Annotated[Path | None, typer.Option(help="Adapter before alignment, for diversity_ratio.")] = None,
    second: Annotated[
        Path | None, typer.Option(help="Folder of a dual encoder (icg train dual --judge) that recognises titles too.")
    ] = None,
    ablations: Annotated[
        bool,
        typer.Option(
            "--ablations",
            help="Also covers from the reference alone, two references, a reference without anchor, the best of four draws.",
        ),
    ] = False,
    permutations: Annotated[
        int | None,
        typer.Option(
            help="Test own against swapped users with so many permutations instead: the yardstick of docs/yardstick.md."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="With --permutations: folder with items, pictures and events, in place of --art."),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(
            help="With --permutations: folder of another cover space, which did not make the covers, to judge them."
        ),
    ] = None,
    covers: Annotated[
        Path | None,
        typer.Option(
            help="With --permutations and --data: table of covers of any system (item, user, image, seed) to test."
        ),
    ] = None,
    unanchored: Annotated[
        bool,
        typer.Option(
            "--unanchored", help="With --permutations: items' pictures are read, but not set into the covers."
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="With --permutations: cpu, cuda or cuda:N; default: a GPU if there is one.")
    ] = "",
) -> None:
    """Whether covers show their title and suit their user, on held-out SIMULATED users and titles, with controls.

    With --permutations: a permutation test on the users of one's own catalogue, for any checkpoint. The last line is JSON.
    """
    from json import dumps

    if permutations is not None:
        checked = (
            ("--without", without),
            ("--before", before),
            ("--second", second),
            ("--ablations", ablations or None),
        )
        if names := [name for name, value in checked if value is not None]:
            fail(f"error: {names[0]} with --permutations; allowed: without it")
        _yardstick(permutations, data, art, checkpoint, judge, covers, seeds, count, unanchored, device)
        return
    needless = (("--data", data), ("--judge", judge), ("--covers", covers), ("--device", device or None))
    if names := [name for name, value in (*needless, ("--unanchored", unanchored or None)) if value is not None]:
        fail(f"error: {names[0]} without --permutations; allowed: with it")
    if art is None:
        fail("error: nothing to evaluate; allowed: --art, or --permutations with --data or --art")

    from icg import starter
    from icg.evaluate.personalisation import OtherAdapters, measure

    with refusals():
        figures = measure(
            checkpoint or starter.path(), art, seeds, count, OtherAdapters(without, before), second, ablations
        )
    rows = [(name, f"{v['mean']:.3f} ± {v['deviation']:.3f}" if v else "not measured") for name, v in figures.items()]
    print_table(f"personalisation, {seeds} seeds, {count} covers a figure, SIMULATED users", ("figure", "mean"), rows)
    typer.echo(dumps({name: v and round(v["mean"], 4) for name, v in figures.items()}))


def _yardstick(
    permutations: int,
    data: Path | None,
    art: Path | None,
    checkpoint: Path | None,
    judge: Path | None,
    covers: Path | None,
    seeds: int,
    count: int,
    unanchored: bool,
    device: str,
) -> None:
    """Own against swapped users with a p-value."""
    from icg import starter
    from icg.evaluate.yardstick import Extent, of_checkpoint, of_covers

    if (data is None) == (art is None):
        fail("error: --data and --art given both or not at all; allowed: one of them")
    if covers is not None and (data is None or unanchored or device):
        fail("error: --covers with --art, --unanchored or --device; allowed: --data, --judge and --checkpoint")
    root = checkpoint or starter.path()
    with refusals():
        if covers is not None and data is not None:
            result = of_covers(covers, data, permutations, root, judge)
        else:
            extent = Extent(permutations, seeds, count)
            result = of_checkpoint(root, extent, data, art, judge, not unanchored, device)
    line = result.last_line(permutations)
    rows = [(name, ", ".join(map(str, v)) if isinstance(v, list) else str(v)) for name, v in line.items()]
    print_table("own against swapped users", ("figure", "value"), [row for row in rows if row[1] != "None"])
    print_json(line)


@app.command("reliability")
def reliability(
    art: Art,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the starter's layout with controlnet/ and reliability/; default: the shipped starter."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other products, places and noise.", min=1)] = 3,
    count: Annotated[int, typer.Option(help="Briefs a round, four pictures each.", min=2, max=200)] = 24,
    before: Annotated[Path | None, typer.Option(help="ControlNet before RFFT.")] = None,
    no_regulariser: Annotated[Path | None, typer.Option(help="ControlNet tuned without a regulariser.")] = None,
    kl: Annotated[Path | None, typer.Option(help="ControlNet tuned with KL in place of consistent condition.")] = None,
    image_only: Annotated[Path | None, typer.Option(help="Judge of the picture alone, for rfnet_f1_gain.")] = None,
    second: Annotated[Path | None, typer.Option(help="Second judge, which RFFT never used.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Picture file for a contact sheet.", dir_okay=False)] = None,
) -> None:
    """Whether its product pictures may be shown, on held-out products, before and after RFFT, by three judges."""
    from json import dumps

    from icg import starter
    from icg.evaluate.reliability import OtherNetworks, measure

    with refusals():
        compared = OtherNetworks(before, no_regulariser, kl, image_only, second)
        figures, table = measure(checkpoint or starter.path(), art, seeds, count, compared, sheet)
    columns = sorted({name for row in table.values() for name in row})
    rows = [(kind, *(f"{row[c][0]:.3f} ± {row[c][1]:.3f}" for c in columns)) for kind, row in table.items()]
    print_table(f"product pictures, {seeds} seeds, {count} briefs x 4 pictures", ("ControlNet", *columns), rows)
    typer.echo(dumps({name: value and round(value[0], 4) for name, value in figures.items()}))


@app.command("design")
def design(
    art: Art,
    checkpoint: Checkpoint = None,
    designs: Annotated[Path | None, typer.Option(help="Folder of `icg train design`, for bucket_order_share.")] = None,
    products: Annotated[
        Path | None, typer.Option(help="Folder of trained products, or where to train them (hours), for identity.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of the sample's covers, for upscaler_psnr_gain.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other accounts, users and noise.", min=1)] = 3,
    posts: Annotated[int, typer.Option(help="SIMULATED posts a round.", min=300)] = 3000,
    items: Annotated[int, typer.Option(help="Items to design a round.", min=4)] = 30,
) -> None:
    """Engagement, designs, segments, products and the upscaler, each with its baselines. On held-out SIMULATED accounts and users."""
    from json import dumps

    from icg import starter
    from icg.train.studies.design_measure import EvaluationFolders, Extent, measure

    with refusals():
        folders = EvaluationFolders(checkpoint or starter.path(), art, designs, products, pictures)
        figures, tables = measure(folders, Extent(seeds, posts=posts, items=items))
    for name, table in tables.items():
        columns = list(dict.fromkeys(column for row in table.values() for column in row))
        rows = [(kind, *(_spread(row.get(column)) for column in columns)) for kind, row in table.items()]
        print_table(f"{name}, {seeds} seeds", ("", *columns), rows)
    typer.echo(dumps({name: values and round(sum(values) / len(values), 4) for name, values in figures.items()}))


@app.command("upscaling")
def upscaling(
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of pictures named SUBJECT-NUMBER, for gains over bicubic.")
    ] = None,
    covers: Annotated[Path | None, typer.Option(help="Folder of covers for the sheet.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Picture file: covers as drawn, bicubic, upscaled.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Swin2SR folder; default: the shipped upscaler.")] = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other pictures.", min=1)] = 3,
    count: Annotated[int, typer.Option(help="Pictures a round.", min=1)] = 24,
) -> None:
    """PSNR and SSIM over bicubic, on pictures of held-out subjects and on new drawings; or a contact sheet."""
    from json import dumps

    from icg import starter
    from icg.evaluate.upscaling import measure
    from icg.evaluate.upscaling import sheet as draw
    from icg.models.upscale import Upscaler
    from icg.pictures import decode, read

    if (covers is None) != (sheet is None) or pictures is covers is None:
        fail("error: nothing to evaluate; allowed: --pictures, or --covers and --sheet")
    folder = checkpoint or starter.path() / "upscaler"
    with refusals():
        if covers is not None and sheet is not None:
            images = [decode(read(path), path.name) for path in sorted(covers.iterdir())]
            draw(images, Upscaler.from_pretrained(folder)).save(sheet, quality=90)
        if pictures is not None:
            table = measure(folder, pictures, seeds, count)
            columns = list(next(iter(table.values())))
            rows = [(kind, *(_spread(row[column]) for column in columns)) for kind, row in table.items()]
            print_table(f"upscaling, {seeds} seeds, {count} pictures", ("pictures", *columns), rows)
            means = {kind: {name: round(sum(v) / len(v), 4) for name, v in row.items()} for kind, row in table.items()}
            typer.echo(dumps(means))


@app.command("aesthetic")
def aesthetic(
    pictures: Annotated[Path, typer.Option(help="Folder of pictures, with its subfolders.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of `icg train aesthetic`; default: the shipped head.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other pictures and damage.", min=1)] = 3,
    count: Annotated[int, typer.Option(help="Pictures a round.", min=2)] = 100,
) -> None:
    """Whether pictures rank above damaged copies of themselves: blurred, noisy, overexposed, pasted small on an empty ground, and more."""
    from json import dumps

    from icg.evaluate.aesthetic import last_line, measure
    from icg.starter import rewards

    with refusals():
        reward = rewards.load("aesthetic", checkpoint)
        table, refused = measure(reward, pictures, seeds, count)
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    rows = [(kind, *(_spread(row.get(column)) for column in columns)) for kind, row in table.items()]
    left_out = f", {refused} pictures cannot be decoded" if refused else ""
    print_table(f"whole above damaged, {seeds} seeds, {count} pictures{left_out}", ("damage", *columns), rows)
    typer.echo(dumps(last_line(table, reward.name)))


@app.command("segments")
def segments(
    art: Art,
    checkpoint: Checkpoint = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other users.", min=1)] = 3,
) -> None:
    """Whether a segment is recognised by its description, on SIMULATED users; permuted descriptions are the control."""
    from json import dumps

    from icg import starter
    from icg.data.art import load_subjects
    from icg.evaluate.segments import evaluate, shelf

    root = checkpoint or starter.path()
    with refusals():
        subjects = load_subjects(art)
        results = [evaluate(root, shelf(root, subjects, seed), seed)[0] for seed in range(seeds)]
    table = {name: [result[name] for result in results] for name in results[0]}
    print_table(f"segments, {seeds} seeds", ("figure", "mean"), [(n, _spread(v)) for n, v in table.items()])
    typer.echo(dumps({name: round(sum(values) / len(values), 4) for name, values in table.items()}))


def _spread(values: list[float] | None) -> str:
    """Mean and standard deviation over seeds."""
    from statistics import mean, pstdev

    return f"{mean(values):.3f} ± {pstdev(values):.3f}" if values else ""
