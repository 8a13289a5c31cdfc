"""icg train: the list of recipes, each recipe's own flags, and errors."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import icg
import pytest
from icg.cli import app
from icg.train.recipes import RECIPES, name_of
from typer.testing import CliRunner


def test_without_a_name_the_recipes_are_listed() -> None:
    for arguments in (["train"], ["train", "--help"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0
        for name, recipe in RECIPES.items():
            assert all(text in done.stdout for text in (name, recipe.trains, recipe.needs, recipe.takes))


def test_listing_recipes_imports_no_torch() -> None:
    code = (
        "import sys; from icg.cli import app; app(['train'], standalone_mode=False); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", RECIPES)
def test_help_after_a_name_shows_the_recipes_own_flags(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        import_module(f"icg.train.{RECIPES[name].module}").main(["--help"])
    out = capsys.readouterr().out
    assert left.value.code == 0
    assert out.startswith(f"usage: icg train {name} ")
    assert f"icg train {name}" in out.partition("\n\n")[2], "its description shows how to run it"


def test_every_module_of_train_with_a_main_is_a_recipe() -> None:
    root = Path(icg.__file__).parent / "train"
    mains = {path for path in root.rglob("*.py") if "\ndef main(" in path.read_text()}
    modules = {".".join(path.relative_to(root.parents[1]).with_suffix("").parts) for path in mains}
    assert {name_of(module) for module in modules} == set(RECIPES)


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    done = CliRunner().invoke(app, ["train", "galery"])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: recipe='galery' (did you mean gallery?); allowed: connector, ")


def test_a_refusal_of_a_recipe_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", "product", "--out", str(tmp_path), "--thing", "mug"])
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "thing='mug'; allowed: zigzag-teapot" in done.stderr


def test_art_is_needed_without_smoke(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", "alignment", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "icg train alignment: error: --data or --art is needed, not both" in done.stderr
