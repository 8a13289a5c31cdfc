"""`icg design`: its output, its picture and its errors."""

import json
from pathlib import Path

import pytest
from icg.cli import app
from icg.provenance import read
from typer.testing import CliRunner


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["design", *arguments])
    return result.exit_code, result.stdout + result.stderr


def test_designs_are_written_drawn_and_searched(tmp_path: Path) -> None:
    code, text = invoke("panda", "--target", "low", "--json")
    assert code == 0
    (likeliest,) = json.loads(text)["designs"]
    assert likeliest["objects"] == ["panda"]
    code, text = invoke("panda", "--count", "2", "--out", str(tmp_path / "drawn.png"), "--time", "2025-03-01T10:00:00Z")
    assert code == 0
    assert "for high engagement" in text
    assert all(len(line) > 80 for line in text.splitlines()[1:]), "no cell is cut without a terminal"
    provenance = read((tmp_path / "drawn.png").read_bytes())
    assert str(provenance["design"]).startswith('{"colours"')
    code, text = invoke("panda", "--best-of", "4", "--count", "3", "--json", "--out", str(tmp_path / "best.png"))
    output = json.loads(text)
    assert (code, len(output["designs"])) == (0, 3)
    assert output["engagement"] == sorted(output["engagement"], reverse=True)
    assert read((tmp_path / "best.png").read_bytes())["brief_digest"] != provenance["brief_digest"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("panda", "--target", "huge"), "target='huge'; allowed: low, medium, high"),
        ((" ",), "title"),
        ((" ", "--best-of", "2"), "title"),
        (("panda", "--time", "tomorrow"), "time='tomorrow'; allowed: a time from 1990 to 2100"),
        (("panda", "--checkpoint", "nowhere"), "nowhere"),
    ],
)
def test_an_invalid_argument_is_named(arguments: tuple[str, ...], why: str) -> None:
    code, text = invoke(*arguments)
    assert code == 1
    assert text.startswith("error: ")
    assert why in text
