"""icg product: train, list, generate, remove; covers from the in-process generator; and errors of one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput, NotFound
from eyecatch.core.generator import Brief
from eyecatch.core.types import EMBEDDING_DIM
from eyecatch.generators.local import LocalGenerator
from icg.cli import app
from icg.provenance import read
from icg.train.products.art import THINGS, pictures
from PIL import Image
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")
FEW = ("--steps", "2", "--no-prior")


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["product", *arguments, "--data-dir", str(data)])


def refused(result: Result) -> str:
    """The last line of its output."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def product_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    for n, picture in enumerate(pictures(THINGS[1], 3)):
        picture.save(folder / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, product_folder: Path) -> Path:
    """A data folder with one product, trained for a few steps."""
    data = tmp_path_factory.mktemp("data")
    result = run(data, "train", "my-pack", str(product_folder), "--class", "backpack", *FEW, "--json")
    assert result.exit_code == 0, result.output
    output = json.loads(result.stdout)
    assert (output["id"], output["kind"], output["method"], output["steps"]) == ("my-pack", "backpack", "dreambooth", 2)
    assert "minutes" in result.stderr
    assert "similarity" in result.stderr
    return data


def test_listed(data: Path) -> None:
    (one,) = json.loads(run(data, "list", "--json").stdout)["products"]
    assert one["id"] == "my-pack"
    assert len(one["pictures"]) == 3
    table = run(data, "list").stdout
    assert "my-pack" in table
    assert "dreambooth" in table
    assert "1 products" in table
    (data / "products" / "odd").mkdir()
    (data / "products" / "odd" / "product.json").write_text("{")
    listed = run(data, "list", "--json")
    assert len(json.loads(listed.stdout)["broken"]) == 1
    assert listed.exit_code == 0
    (data / "products" / "odd" / "product.json").unlink()


def test_generated_with_provenance(data: Path, tmp_path: Path) -> None:
    arguments = ("generate", "my-pack", "--title", "a {product} at night", "--count", "2", "--out", str(tmp_path))
    result = run(data, *arguments, "--json")
    assert result.exit_code == 0, result.output
    first, second = (Path(p) for p in json.loads(result.stdout)["covers"])
    provenance = read(first.read_bytes())
    assert provenance["ai_generated"] is True
    assert str(provenance["product"]).startswith("my-pack@")
    assert provenance["seed"] == 0
    with Image.open(first) as one, Image.open(second) as other:
        assert one.size == (128, 128)
        assert not np.array_equal(np.asarray(one), np.asarray(other))


async def test_covers_of_it_from_the_in_process_generator(data: Path) -> None:
    generator = LocalGenerator(None, data / "products")
    nobody = np.zeros(EMBEDDING_DIM, np.float32)
    Image.new("RGB", (64, 64), "white").save(data / "reference.png")
    request = Brief(
        "a {product}", ((data / "reference.png").read_bytes(),), nobody, 3, Drawing(2, product_id="my-pack")
    )
    plain = Brief("a backpack", (), nobody, 3, Drawing(2))
    try:
        product, other = await generator.generate([request, plain], lambda *_: None)
        (alone,) = await generator.generate([request], lambda *_: None)
        assert product.image == alone.image != other.image
        assert product.rewards["relevance"] == pytest.approx(alone.rewards["relevance"], abs=1e-5)
        for id, kind, named in (
            ("gone", NotFound, "no product 'gone'; allowed: my-pack"),
            ("../x", InvalidInput, "product_id: got '../x'; allowed: 1 to 64"),
        ):
            with pytest.raises(kind, match=named):
                await generator.generate([Brief("x", (), nobody, 3, Drawing(product_id=id))], lambda *_: None)
    finally:
        await generator.close()


def test_removed(data: Path, product_folder: Path, tmp_path: Path) -> None:
    trained = run(
        tmp_path, "train", "two", str(product_folder), "--class", "backpack", *FEW, "--method", "textual-inversion"
    )
    assert trained.exit_code == 0, trained.output
    assert "two: trained in" in trained.stdout
    assert run(tmp_path, "remove", "two").exit_code == 0
    assert not list((tmp_path / "products").glob("*/*"))
    assert "product_id='two'; allowed: none is trained here" in refused(run(tmp_path, "remove", "two"))
    assert "product_id='two'; allowed: none, no product" in refused(
        run(tmp_path, "generate", "two", "--out", str(tmp_path))
    )


def test_an_error_is_one_line(product_folder: Path, tmp_path: Path) -> None:
    train = ("train", "mug", str(product_folder), "--class", "backpack")
    one, many = (str(product_folder / "0.png"),), [str(product_folder / "0.png")] * 200
    assert "pictures=1; allowed: 3 to 8" in refused(run(tmp_path, "train", "mug", *one, "--class", "mug"))
    assert "pictures=200; allowed: 3 to 8" in refused(run(tmp_path, "train", "mug", *many, "--class", "mug"))
    assert "product_id='Mug!'" in refused(run(tmp_path, "train", "Mug!", str(product_folder), "--class", "mug"))
    assert "method='magic'; allowed: textual-inversion" in refused(run(tmp_path, *train, "--method", "magic"))
    assert "kind=''" in refused(run(tmp_path, "train", "mug", str(product_folder), "--class", " "))
    assert "product_id='../x'" in refused(run(tmp_path, "remove", "../x"))
    others = tmp_path / "others"
    others.mkdir()
    for n, thing in enumerate(THINGS[:4]):
        pictures(thing, 1)[0].save(others / f"{n}.png")
    line = refused(run(tmp_path, "train", "mug", str(others), "--class", "mug"))
    assert "pictures show different products" in line
    assert "--force" in line
    assert not (tmp_path / "products").exists()
