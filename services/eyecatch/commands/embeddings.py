"""eyecatch embeddings fit | show | drop: what users' own vectors say of their tastes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import DEFAULT_DATA, Answer, DataDir, Json, fail, run_on_stores
from eyecatch.commands.upkeep import run_with_progress

if TYPE_CHECKING:
    from icg.users.vector_map import VectorMap

    from eyecatch.commands.upkeep import OnProgress
    from eyecatch.config import Config
    from eyecatch.core.ports import Stores
    from eyecatch.upkeep.vectors import FitReport

app = typer.Typer(
    help="Users' own vectors of a state. A Redis store may be in use, an SQLite store may not.", no_args_is_help=True
)
NO_GAIN = "WHAT THESE VECTORS SAY OF TASTES CANNOT BE TOLD FROM CHANCE"


@app.command("fit")
def fit(
    least_events: Annotated[
        int, typer.Option(help="Engagements with known covers of a user to learn from, at least.", min=1, max=32)
    ] = 5,
    anyway: Annotated[bool, typer.Option("--anyway", help="Use the map even if its gain may be chance.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split into users to fit and to measure on.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write the map to this file (safetensors), whole or not at all.", dir_okay=False),
    ] = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Learn from users with a vector and behaviour where a vector places a user among tastes, and give users with a vector that taste.

    Reports coverage, and on held-out users what the vector gains over the mean user, over no knowledge, and with exchanged vectors.
    """
    reports = list["FitReport"]()

    async def work(config: "Config", stores: "Stores", on_progress: "OnProgress") -> int:
        from eyecatch.core.behaviour.vectors import map_note
        from eyecatch.upkeep import vectors
        from eyecatch.wiring.stores import current_encoder

        encoder = await current_encoder(config, stores)
        reports.append(await vectors.fit(stores, encoder, least_events, seed, anyway, on_progress))
        if out is not None and reports[0].adopted:
            waiting = out.with_name(f".{out.name}.part")
            waiting.write_bytes(await stores.notes.read(map_note(encoder)) or b"")
            waiting.replace(out)
        return reports[0].reached

    run_with_progress("users", data_dir, work, any_space=False)
    _answer(reports[0]).print(json)
    if not reports[0].adopted:
        fail(f"{NO_GAIN}: nothing was changed; --anyway uses the map all the same")


@app.command("show")
def show(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Show how many users have a vector, and the figures of the last fit with the current encoder."""

    async def work(config: "Config", stores: "Stores") -> "tuple[int, int, VectorMap | None]":
        from eyecatch.upkeep import vectors
        from eyecatch.wiring.stores import current_encoder

        return await vectors.show(stores, await current_encoder(config, stores))

    count, width, learned = run_on_stores(data_dir, work)
    data = {"vectors": count, "width": width, "map": learned.report if learned else None}
    title = f"{count} users have a vector" + (f" of {width} numbers" if width else "")
    if learned is None:
        Answer(data, f"{title}; no map: eyecatch embeddings fit").print(json)
        return
    Answer(data, f"{title}; the last fit:", ("what", "value"), list(learned.report.items())).print(json)


@app.command("drop")
def drop(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Remove all vectors, the map and the priors, so that vectors of another model may come. Nothing may store vectors meanwhile."""

    async def work(config: "Config", stores: "Stores", on_progress: "OnProgress") -> int:
        from eyecatch.upkeep import vectors
        from eyecatch.wiring.stores import current_encoder

        return await vectors.drop(stores, await current_encoder(config, stores), on_progress)

    done = run_with_progress("users", data_dir, work, any_space=False)
    Answer({"dropped": done}, f"the vectors of {done} users removed").print(json)


def _answer(report: "FitReport") -> Answer:
    figures = report.figures
    names = (
        ("the vector, mapped", "mapped"),
        ("the mean user", "mean_user"),
        ("nothing known (cold start without vectors)", "cold"),
        ("exchanged vectors (control)", "shuffled"),
    )
    rows = [
        (label, f"{figures.cosine[name]:.3f}", f"{figures.accuracy[name]:.3f}" if figures.accuracy else "-")
        for label, name in names
    ]
    reached = (
        f"the map reaches {report.reached} ({report.reached / report.users:.1%})" if report.adopted else "not used"
    )
    title = (
        f"{report.with_vector} of {report.users} users have a vector ({report.with_vector / report.users:.1%}); {reached}, "
        f"{report.cold} of them with fewer than {report.least_events} engagements. Fitted on {report.fitted_on}, "
        f"ridge {report.strength:g}, measured on {figures.users} others: gain over the mean user {figures.gain:+.4f} ± {figures.error:.4f} "
        f"({'pairs in the right order' if figures.accuracy else 'cosine'})"
    )
    return Answer(report.to_json(), title, ("a user embedding from", "cosine", "pairs in the right order"), rows)
