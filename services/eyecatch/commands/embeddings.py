"""eyecatch embeddings fit | show | drop: what users' own vectors say of their tastes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

    Reports coverage, and on users outside the fit what a vector gains over no knowledge and the mean user, and what exchanged vectors gain.
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
    _answer(reports[0].to_json()).print(json)
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
    title = f"{count} users have a vector" + (f" of {width} numbers" if width else "")
    answer = _answer(learned.report) if learned else Answer(None, "none; learn one with: eyecatch embeddings fit")
    data = {"vectors": count, "width": width, "map": answer.data}
    Answer(data, f"{title} now. The last map: {answer.title}", answer.columns, answer.rows).print(json)


@app.command("drop")
def drop(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Remove all vectors of users and covers, the map and the priors, before those of another model. Nothing may store any meanwhile."""

    async def work(config: "Config", stores: "Stores", on_progress: "OnProgress") -> int:
        from eyecatch.upkeep import vectors
        from eyecatch.wiring.stores import current_encoder

        return await vectors.drop(stores, await current_encoder(config, stores), on_progress)

    done = run_with_progress("users", data_dir, work, any_space=False)
    Answer({"dropped": done}, f"the vectors of {done} users removed").print(json)


def _answer(report: dict[str, Any]) -> Answer:
    """`report`: FitReport.to_json."""
    figures, users, having = report["figures"], report["users"], report["with_vector"]
    names = (
        ("nothing known (cold start without a vector)", "cold"),
        ("the mean user", "mean_user"),
        ("exchanged vectors (control)", "shuffled"),
        ("the vector, mapped", "mapped"),
        (f"the older half of behaviour, {figures['older']:.1f} engagements", "events"),
        ("  with the vector", "both"),
    )
    rows = [
        (label, *(f"{figures[kind][name]:.3f}" if name in figures[kind] else "-" for kind in ("accuracy", "cosine")))
        for label, name in names
    ]
    share = "the map is not used" if not report["adopted"] else f"the map reaches {report['share_reached']:.1%}"
    title = (
        f"{having} of {users} users have a vector ({report['share_with_vector']:.1%}); {share}; {report['cold']} of them have fewer than "
        f"{report['least_events']} engagements. Fitted on {report['fitted_on']}, ridge {report['strength']:g}; trust "
        f"{report['trust']}. On {figures['users']} users outside the fit the vector gains {figures['gain']:+.4f} ± "
        f"{figures['error']:.4f} over the better of the first two rows"
    )
    return Answer(report, title, ("a user known by", "pairs in the right order", "cosine"), rows)
