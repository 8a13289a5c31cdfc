"""icg product: fine-tune the generator on pictures of one product, and draw covers of it. Without a server."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icg.commands.common import Checkpoint, Json, fail, print_json, print_table, quieten_models, refusals

if TYPE_CHECKING:
    from icg.starter import Starter

app = typer.Typer(help="Products that the generator is fine-tuned on, by id.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The product's id: a-z, 0-9, '-' and '_', up to 64.", show_default=False)]
DataDir = Annotated[
    str, typer.Option("--data-dir", envvar="EYECATCH_DATA_DIR", help="Folder with products/, which a server reads too.")
]
DEFAULT_DATA = "eyecatch-data"
PRODUCTS = "products"


@app.command()
def train(
    id: Id,
    pictures: Annotated[
        list[Path], typer.Argument(help="3 to 8 pictures of it, or a folder of them.", exists=True, show_default=False)
    ],
    kind: Annotated[str, typer.Option("--class", help="What it is, in words: backpack, teapot.", show_default=False)],
    method: Annotated[
        str, typer.Option(help="dreambooth (low-rank weights), textual-inversion or dreambooth-full.")
    ] = "dreambooth",
    prior: Annotated[
        bool,
        typer.Option("--prior/--no-prior", help="Whether DreamBooth preserves the model's knowledge of the class."),
    ] = True,
    steps: Annotated[int, typer.Option(help="Training steps; 0 = as measured for the method.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the training.", min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Even if the pictures look like different products.")] = False,
    checkpoint: Checkpoint = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Learn a product from its pictures; after an interruption the same command resumes."""
    with refusals():
        from icg.brief import check_id
        from icg.products.pictures import load
        from icg.train.products.fine_tune import check_kind, fine_tune
        from icg.train.products.tuning import Settings

        settings = Settings(method=method, prior=prior, steps=steps, seed=seed)
        check_id(id)
        check_kind(kind)
        load(pictures, max(settings.size))  # report bad pictures before a model is loaded
        tell = partial(typer.echo, err=True)
        product = fine_tune(_folder(data_dir), _starter(checkpoint), id, kind, pictures, settings, force, tell)
    if json:
        return print_json(product.to_dict())
    minutes = product.seconds / 60
    typer.echo(f"{id}: trained in {minutes:.1f} minutes, {product.memory_mb} MB; icg product generate {id}")


@app.command("list")
def list_(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """List the trained products."""
    from icg.errors import IcgError
    from icg.products import record

    folder = _folder(data_dir)
    records, broken = [], []
    for id in record.ids(folder):
        try:
            product = record.read(folder, id)
        except IcgError as error:
            broken.append(str(error))
        else:
            records += [product] if product is not None else []
    if json:
        return print_json({"products": [product.to_dict() for product in records], "broken": broken})
    rows = []
    for p in records:
        method = p.method + (", prior" if p.prior else "")
        rows.append((p.id, p.kind, method, len(p.pictures), p.steps, p.base_name, p.created))
    print_table(f"{len(rows)} products", ("id", "class", "method", "pictures", "steps", "checkpoint", "made"), rows)
    for line in broken:
        typer.echo(f"warning: {line}", err=True)


@app.command()
def generate(
    id: Id,
    out: Annotated[Path, typer.Option(help="Folder for the covers.", file_okay=False)],
    title: Annotated[
        str, typer.Option(help="The cover's title; {product} or the class is the product's place.")
    ] = "a {product}",
    count: Annotated[int, typer.Option(help="Covers, each with its own seed.", min=1, max=64)] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the first.", min=0)] = 0,
    checkpoint: Checkpoint = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Draw covers of a trained product."""
    from icg.brief import Brief
    from icg.products.library import Library
    from icg.provenance import to_png

    with refusals():
        library = Library(_folder(data_dir))
        product = library.get(id)
        briefs = [Brief(title, seed=seed + n, size=product.record.size, product_id=id) for n in range(count)]
        starter = _starter(checkpoint)
        starter.pipeline.products = library
        covers = [cover for n in range(0, count, 8) for cover in starter.pipeline(briefs[n : n + 8])]
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / f"{id}-{brief.seed}.png" for brief in briefs]
        for path, brief, cover in zip(paths, briefs, covers, strict=True):
            origin = {"model": starter.name, "product": product.key, "seed": brief.seed, "steps": brief.steps}
            path.write_bytes(to_png(cover, {**origin, "brief_digest": brief.digest()}))
    if json:
        return print_json({"covers": [str(path) for path in paths]})
    typer.echo(f"{count} covers of {id} in {out}")


@app.command()
def remove(id: Id, data_dir: DataDir = DEFAULT_DATA) -> None:
    """Delete a product and its weights; running servers refuse it from their next request on."""
    from icg.products import record

    with refusals():
        existed = record.remove(_folder(data_dir), id)
    if not existed:
        fail(f"error: product_id={id!r}; allowed: {', '.join(record.ids(_folder(data_dir))) or 'none is trained here'}")
    typer.echo(f"{id} is removed")


def _folder(data_dir: str) -> Path:
    return Path(data_dir) / PRODUCTS


def _starter(checkpoint: Path | None) -> "Starter":
    from icg.starter import load

    quieten_models()
    return load(checkpoint)
