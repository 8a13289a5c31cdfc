"""The recipes run as documented and write their results, and the measures separate a product from others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from icg import starter
from icg.errors import IcgError
from icg.products import record
from icg.products.record import TEXTUAL_INVERSION
from icg.train.products import recipe as product
from icg.train.products.art import THINGS, cut_out, ground, pictures
from icg.train.products.tuning import Settings, smoke
from icg.train.studies.product_identity import colours, evaluate, histogram, look
from icg.train.studies.product_sheet import COLUMNS, sheet

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


def test_the_smoke_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path), "--thing", "box-robot", "--method", "textual-inversion", "--smoke"]
    product.main(arguments)
    output = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (output["id"], output["kind"], output["method"], output["steps"]) == (
        "box-robot",
        "robot",
        TEXTUAL_INVERSION,
        3,
    )
    assert record.read(tmp_path, "box-robot") is not None


def test_invalid_settings_of_the_recipe_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, named in [
        (["--thing", "mug"], "thing='mug'; allowed: zigzag-teapot"),
        (["--steps", "-3"], r"steps=-3; allowed: 0\.\.20000"),
    ]:
        with pytest.raises(IcgError, match=named):
            product.main(["--out", str(tmp_path), *arguments])
    with pytest.raises(SystemExit):
        product.main(["--out", str(tmp_path), "--pictures", str(tmp_path)])
    assert "--class and --id are needed with --pictures" in capsys.readouterr().err


def test_pictures_are_the_same_each_time_and_held_out_ones_are_others() -> None:
    for thing in THINGS:
        assert not {ground(thing, n, 0) for n in range(5)} & {ground(thing, n, 1) for n in range(6)}
    for thing in THINGS[:1]:
        shown, again, held = pictures(thing, 3), pictures(thing, 3), pictures(thing, 3, seed=1)
        assert all(np.array_equal(a, b) for a, b in zip(shown, again, strict=True))
        assert not {p.tobytes() for p in shown} & {p.tobytes() for p in held}


def test_the_measures_tell_products_apart() -> None:
    embedding, _ = starter.judges(starter.path())
    parts = starter.Starter(None, embedding, {})  # type: ignore[arg-type]  # no model is needed to look
    looks = [look(parts, thing) for thing in THINGS[:3]]
    for n, thing in enumerate(THINGS[:3]):
        covers = pictures(thing, 2)
        by_colour = [np.mean([colours(c, other.colours) for c in covers]) for other in looks]
        assert int(np.argmax(by_colour)) == n
    assert histogram(cut_out(THINGS[0])).sum() == pytest.approx(1)


@pytest.mark.slow
def test_evaluated_and_drawn(tmp_path: Path) -> None:
    methods = {
        name: smoke(Settings(method))
        for name, method in (
            ("textual_inversion", TEXTUAL_INVERSION),
            ("dreambooth", "dreambooth"),
            ("full", "dreambooth-full"),
        )
    }
    methods["dreambooth_no_prior"] = smoke(Settings(prior=False))
    parts = starter.load()
    figures = evaluate(0, THINGS[:2], tmp_path, methods, parts, covers=1)
    assert {f"identity_{name}" for name in (*methods, "untuned", "real")} <= set(figures)
    assert figures["identity_real"] > figures["identity_untuned"]
    assert len(figures["products_identity_dreambooth"]) == 2  # type: ignore[arg-type]
    records = {id: record.read(tmp_path / "library", id) for id in record.ids(tmp_path / "library")}
    assert evaluate(0, THINGS[:2], tmp_path, methods, parts, covers=1) == figures, "nothing is trained twice"
    assert {id: record.read(tmp_path / "library", id) for id in records} == records
    page = sheet(parts, tmp_path, list(THINGS[:2]), each=1)
    assert page.width > len(COLUMNS) * 96
