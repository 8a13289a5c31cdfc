"""`icg train users --data`: an encoder from a shop's own tables that the services read, judged on users held out, or a clear refusal."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from icg.data.behaviour import CLICK, Log
from icg.errors import IcgError
from icg.train.users import own
from icg.train.users import recipe as users
from icg.users.numpy_encoder import UserReader
from PIL import Image


def shop(folder: Path, items: int = 24, people: int = 30, events: bool = True) -> Path:
    """Reddish and bluish pictures; users with even numbers like the former, the others the latter."""
    folder.mkdir()
    for n in range(items):
        Image.new("RGB", (32, 32), (220 - n, 4 * n, 30) if n % 2 == 0 else (30, 4 * n, 220 - n)).save(
            folder / f"{n}.png"
        )
    with (folder / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "title", "image"], *([n, f"item {n}", f"{n}.png"] for n in range(items))])
    if events:
        rows = [
            [f"user {user}", item, "like", 1_700_000_000 + 60 * item]
            for user in range(people)
            for item in range(items)
            if item % 2 == user % 2
        ]
        with (folder / "events.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [["user", "item", "action", "time"], *rows, ["user 0", "nothing", "like", 1_700_000_000]]
            )
    return folder


def test_an_encoder_of_own_events_is_judged_on_users_held_out_and_read_by_the_services(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(shop(tmp_path / "shop")), "--out", str(tmp_path / "run")]
    users.main([*arguments, "--seeds", "2", "--steps", "30"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["covers"], result["users"], result["seeds"]) == (24, 30, 2)
    accuracy = result["accuracy"]["any"]
    assert accuracy["encoder"][0] > accuracy["popularity"][0] + 0.2
    assert result["warning"] == ""
    assert json.loads((tmp_path / "run" / "users" / "evaluation.json").read_text()) == result
    assert "nothing" in (tmp_path / "run" / "left_out.jsonl").read_text()
    UserReader.from_pretrained(tmp_path / "run" / "users")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"events": False}, "no table of events; allowed: events.csv"),
        ({"items": 3}, "3 covers; allowed: 10 covers or more"),
        ({"people": 1}, "1 users with 2 engagements or more.*allowed: 20 users or more"),
        ({"people": 0}, "0 users with 2 engagements or more"),
    ],
)
def test_too_little_is_refused_before_training(content: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(IcgError, match=message):
        users.main(["--data", str(shop(tmp_path / "shop", **content)), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run" / "users").exists()


def test_art_and_data_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in ([], ["--art", ".", "--data", "."]):
        with pytest.raises(SystemExit):
            users.main(["--out", str(tmp_path), *flags])
        assert "one of --data, --events and --art is needed" in capsys.readouterr().err


def test_a_warning_says_where_another_users_events_rank_as_well() -> None:
    def table(encoder: float, spread: float) -> dict[str, dict[str, list[float]]]:
        return {"popular": {"encoder": [encoder, spread], "shuffled": [0.5, 0.0]}}

    assert own.warning(table(0.6, 0.01)) == ""
    assert "CANNOT BE TOLD FROM CHANCE" in own.warning(table(0.6, 0.06))
    assert "CANNOT BE TOLD FROM CHANCE" in own.warning(table(0.505, 0.0))
    assert "NOT JUDGED" in own.warning({})


def test_every_place_counts_alike_in_a_log_without_impressions() -> None:
    column = np.array([0, 0, 0])
    log = Log(column, np.arange(3), np.full(3, CLICK), column, np.arange(3.0), np.arange(3), np.array([0, 4, 2]))
    assert log.examination().tolist() == [1.0] * 5
