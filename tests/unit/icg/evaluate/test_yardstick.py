"""The yardstick on a small shop: what a panel is made of, a table of covers of another system, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from icg.checkpoints import SHIPPED
from icg.cli import app
from icg.data.behaviour import CLICK, DISLIKE, Log
from icg.errors import IcgError
from icg.evaluate import yardstick
from icg.evaluate.panel import Panel, Shop, Spaces, drawn_items, halves, simulated
from icg.evaluate.yardstick import Extent, drawn_for, judge_space, of_covers, preference, read_covers
from icg.models.joint import JointEmbedding
from icg.models.space import Projection
from icg.settings import DrawingSettings
from icg.starter import Starter
from PIL import Image
from typer.testing import CliRunner

from tests.unit.icg.train.test_users_own import shop


@pytest.fixture(scope="module")
def spaces() -> Spaces:
    own = JointEmbedding.from_pretrained(SHIPPED)
    return Spaces(SHIPPED, own, own)


def covers_table(folder: Path, colour: Callable[[int, int], tuple[int, int, int]], people: int = 12) -> Path:
    """A table of covers of four items for users 0 to people - 1, plain in `colour` of the item and the user."""
    folder.mkdir()
    rows = [["item", "user", "image"]]
    for item in range(4):
        for user in range(people):
            name = f"{item}-{user}.png"
            Image.new("RGB", (32, 32), colour(item, user)).save(folder / name)
            rows.append([str(item), f"user {user}", name])
    with (folder / "covers.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "covers.csv"


def liked(item: int, user: int) -> tuple[int, int, int]:
    """Reddish for even users and bluish for odd ones, as the users of `shop` like it."""
    return (200 - item, 30 + 9 * user, 30) if user % 2 == 0 else (30, 30 + 9 * user, 200 - item)


def test_the_newer_half_of_a_users_events_is_about_other_covers() -> None:
    cover = np.array([0, 1, 2, 3, 1, 4, 5])
    action = np.full(7, CLICK)
    columns = (np.zeros(7, int), np.arange(7.0), np.arange(7), np.zeros(7, int))
    log = Log(np.zeros(7, int), cover, action, *columns)
    parts = halves(log, 0, 7)
    assert parts is not None
    assert [rows.tolist() for rows in parts] == [[0, 1, 2, 3], [5, 6]]
    action[5:] = DISLIKE
    assert halves(log, 0, 7) is None, "nothing that the user liked is left to judge by"
    assert halves(log, 0, 1) is None


def test_users_and_items_held_out_of_training_come_first(tmp_path: Path, spaces: Spaces) -> None:
    one = Shop(shop(tmp_path / "shop", people=60))
    panel = one.panel(spaces)
    everybody = one.panel(spaces, [f"user {n}" for n in range(60)])
    assert panel.users.shape == panel.preferences.shape == (24, 64)
    assert everybody.held_out == panel.held_out > 0
    assert len(everybody.names) == 60
    again = Shop(tmp_path / "shop").panel(spaces)
    assert (again.names, again.users.tolist()) == (panel.names, panel.users.tolist())


def test_an_item_is_drawn_from_its_own_picture_and_not_from_a_cover(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", items=8)
    Image.new("RGB", (64, 64), "white").save(folder / "cover.png")
    rows = [f"c{n},{n},cover.png" for n in range(8)]
    (folder / "covers.csv").write_text("\n".join(["cover_id,item_id,image", *rows]) + "\n")
    sizes = {images[0].size for _, images in Shop(folder).items()}
    assert sizes == {(32, 32)}


def test_covers_of_another_system_in_users_colours_are_personal(tmp_path: Path) -> None:
    data = shop(tmp_path / "shop")
    result = of_covers(covers_table(tmp_path / "covers", liked), data, 499, SHIPPED)
    assert result.test.effect > 0.6
    assert result.test.p < 0.02
    assert result.earlier.p < 0.02, "even and odd users go on to like their colour"
    assert (result.test.users, result.items, result.test.covers, result.control) == (12, 4, 48, None)
    swapped = covers_table(tmp_path / "swapped", lambda item, user: liked(item, user + 1))
    assert of_covers(swapped, data, 499, SHIPPED).test.p > 0.9
    alike = covers_table(tmp_path / "alike", lambda item, user: (40 * item, 90, 90))
    same = of_covers(alike, data, 99, SHIPPED).test
    assert (same.effect, same.p) == (0.5, 1.0)


def test_users_of_a_table_without_behaviour_are_left_out_and_counted(tmp_path: Path) -> None:
    data = shop(tmp_path / "shop", people=9)
    result = of_covers(covers_table(tmp_path / "covers", liked), data, 99, SHIPPED)
    assert (result.test.users, result.last_line(99)["users_left_out"]) == (9, 3)


def test_the_command_ends_with_json_for_a_table_of_covers(tmp_path: Path) -> None:
    flags = ["--permutations", "99", "--data", str(shop(tmp_path / "shop"))]
    flags += ["--covers", str(covers_table(tmp_path / "covers", liked))]
    done = CliRunner().invoke(app, ["evaluate", "personalisation", *flags])
    assert done.exit_code == 0, done.output
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["p"] == line["least_p"] == 0.01 or line["p"] < 0.05
    assert line["interval"][0] <= line["own_over_swapped"] <= line["interval"][1]
    assert (line["control"], line["judge"], line["behaviour"]) == (None, "own", "catalogue")
    assert "user 1" not in done.output, "ids of users are private"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"events": False}, "no table of events; allowed: events.csv"),
        (
            {"people": 7},
            "7 users with engagements in both halves of their events, of 7 users with events.*allowed: 8 or more",
        ),
        ({"people": 1}, "1 users with engagements in both halves of their events, of 1 users with events"),
        ({"people": 0}, "0 users with engagements in both halves of their events, of 0 users with events"),
    ],
)
def test_a_catalogue_with_too_little_behaviour_is_refused(
    content: dict[str, int], message: str, tmp_path: Path, spaces: Spaces
) -> None:
    with pytest.raises(IcgError, match=message):
        Shop(shop(tmp_path / "shop", **content)).panel(spaces)


def test_judges_that_cannot_judge_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "projection.pt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("pickled", r"only pickled weights \(projection.pt\); allowed: a folder of icg space fit"),
        ("empty", "projection.safetensors is missing"),
        ("nowhere", "no such folder"),
    ):
        with pytest.raises(IcgError, match=message):
            judge_space(tmp_path / name)
    assert judge_space(SHIPPED) == SHIPPED / "space"
    with pytest.raises(IcgError, match="judge: covers of 32 numbers; allowed: 64, as users have"):
        preference(np.zeros((3, 32)), np.zeros((8, 64)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0,), "permutations=0; allowed: 1 or more"),
        ((9, 0), "seeds=0; allowed: 1 or more"),
        ((9, 1, 7), "count=7; allowed: 8 or more"),
    ],
)
def test_an_extent_of_nothing_is_refused(values: tuple[int, ...], message: str) -> None:
    with pytest.raises(IcgError, match=message):
        Extent(*values)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["item,user,image", "a,,1.png"], "covers.csv, row 1: an empty item or user"),
        (["item,user,image", "a,b,nowhere.png"], "covers.csv, row 1: image='nowhere.png', no such file in"),
        (["item,user,image", "a,b,1.png", "a,b,1.png"], "covers.csv, row 2: a second cover of its item, user and seed"),
        (["item,image", "a,1.png"], "user_id"),
    ],
)
def test_rows_of_covers_that_cannot_be_used_are_refused(rows: list[str], message: str, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "1.png")
    (tmp_path / "covers.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(IcgError, match=message):
        read_covers(tmp_path / "covers.csv")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to evaluate; allowed: --art, or --permutations with --data or --art"),
        (["--data", "."], "--data without --permutations"),
        (["--permutations", "9", "--ablations"], "--ablations with --permutations"),
        (["--permutations", "9"], "--data and --art given both or not at all"),
        (["--permutations", "9", "--art", ".", "--covers", "x.csv"], "--covers with --art"),
        (["--permutations", "0", "--data", "."], "permutations=0; allowed: 1 or more"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(flags: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", "personalisation", *flags])
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_covers_are_drawn_for_the_panel_and_as_often_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that paints a user's embedding, judged by a space that reads it, and noise where there is no user."""
    rng = np.random.default_rng(1)
    users = rng.normal(size=(8, 64)).astype(np.float32)
    seeds: list[int] = []

    def paint(parts: Starter, briefs: list[yardstick.Brief]) -> list[np.ndarray]:
        seeds.append(len({b.seed for b in briefs}))
        return [
            np.random.default_rng(b.seed).normal(size=64) if b.user_embedding is None else b.user_embedding
            for b in briefs
        ]

    class Reader:
        def covers(self, images: list[np.ndarray]) -> np.ndarray:
            return np.stack(images)

    monkeypatch.setattr(yardstick, "draw", paint)
    parts = SimpleNamespace(taste=lambda user: user, pipeline=SimpleNamespace(settings=DrawingSettings()))
    items = iter([(f"item {n}", ()) for n in range(9)])
    result = drawn_for(Panel(users, users, -users, 3), items, parts, Reader(), Extent(199, 3, 17))  # type: ignore[arg-type]
    assert seeds == [1, 8] * 6, "one noise for all users of an item, and one for each cover for nobody"
    assert (result.test.effect, result.test.p, result.items, result.test.covers) == (1.0, 0.005, 6, 48)
    assert result.control is not None
    assert 0.3 < result.control.effect < 0.7
    assert result.control.p > 0.05
    assert (result.earlier.effect, result.earlier.p) == (0.0, 1.0), "what they liked earlier is the opposite"
    assert result.last_line(199)["users_held_out"] == 3


def other_space(folder: Path) -> Path:
    """A space that weighs the directions of the shipped one differently."""
    shutil.copytree(SHIPPED / "space", folder)
    projection, encoder = Projection.load(folder / "projection.safetensors")
    weights = np.linspace(0.2, 2, 64, dtype=np.float32)
    replace(projection, turn=projection.turn * weights).save(folder / "projection.safetensors", encoder)
    return folder


@pytest.mark.slow
def test_a_checkpoint_is_measured_on_its_own_catalogue(small_root: Path, tmp_path: Path) -> None:
    flags = ["--data", str(shop(tmp_path / "shop")), "--checkpoint", str(small_root), "--seeds", "1", "--count", "24"]
    flags += ["--permutations", "19", "--unanchored", "--device", "cpu", "--judge"]
    done = CliRunner().invoke(app, ["evaluate", "personalisation", *flags, str(other_space(tmp_path / "other"))])
    assert done.exit_code == 0, done.output
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["users"], line["items"], line["covers"], line["judge"]) == (24, 1, 24, "second")
    assert 0 <= line["control"] <= 1
    refused = CliRunner().invoke(app, ["evaluate", "personalisation", *flags, str(small_root)])
    assert refused.exit_code == 1
    assert "is the space that the covers are drawn in; allowed: another" in refused.stderr


@pytest.mark.slow
def test_simulated_users_have_a_panel_too(spaces: Spaces) -> None:
    from icg.data.art import procedural

    subjects = procedural()
    panel = simulated(spaces, subjects, 0, covers=60)
    assert 8 <= len(panel.users) == panel.held_out <= 24
    title, images = next(drawn_items(subjects))
    assert title
    assert len(images) == 1
