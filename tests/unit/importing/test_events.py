"""Importing events: each once, actions from columns, constants or ratings, times in the usual forms."""

from pathlib import Path

import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Action, Item
from eyecatch.importing import EventColumns, Report, Table, import_events
from eyecatch.importing.events import rating_action

from tests.contracts.builders import MEAN
from tests.unit.importing.conftest import Home


async def run(home: Home, path: Path, columns: EventColumns | None = None) -> Report:
    await home.store.catalog.upsert_items([Item("a", "A"), Item("b", "B")])
    return await import_events(Table(path), home.store.profiles, home.store.catalog, MEAN, columns)


async def test_events_come_in_once(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "event_id,user_id,item_id,cover_id,action,timestamp,dwell_ms\n"
        "e1,mia,a,c1,click,1000000000,\n"
        "e2,mia,b,,DWELL,2001-09-09T01:46:41Z,2500\n"
        ",noah,a,,Like,1000000002000,0\n"
    )
    report = await run(home, path)
    assert (report.accepted, report.unchanged, report.refused) == (3, 0, [])
    events = [e for _, e in await home.store.profiles.events()]
    assert [(e.action, e.time, e.cover_id, e.dwell_ms) for e in events] == [
        (Action.CLICK, 1e9, "c1", 0),
        (Action.DWELL, 1e9 + 1, "", 2500),
        (Action.LIKE, 1e9 + 2, "", 0),
    ]
    assert len(events[2].id) == 32
    again = await run(home, path)
    assert (again.accepted, again.unchanged) == (0, 3)


async def test_bad_rows_are_refused_and_good_ones_stay(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "user,item,action,time,dwell_ms\n"
        "mia,a,click,1000,\nmia,unknown,click,1000,\nmia,a,jump,1000,\nmia,a,click,yesterday,\n"
        "mia,a,click,-5,\n,a,click,1000,\nmia,a,dwell,1000,many\nmia,a,dwell,1000,1e400\nmia,a,click,99999999999,\n"
    )
    report = await run(home, path)
    assert report.accepted == 1
    reasons = {r.row: r.reason for r in report.refused}
    assert list(reasons) == [2, 3, 4, 5, 6, 7, 8, 9]
    for row, words in {
        2: "no item 'unknown'",
        3: "dislike",
        4: "ISO 8601",
        5: "time",
        6: "user_id",
        7: "dwell_ms",
        9: "ahead",
    }.items():
        assert words in reasons[row]


async def test_ratings_become_actions(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("userId,movieId,rating,timestamp\n1,a,4.0,964982703\n1,b,0.5,964981247\n2,a,x,1\n")
    with pytest.raises(InvalidInput, match=r"columns\.action"):
        await run(home, path)
    report = await run(home, path, EventColumns(rating="rating"))
    assert (report.accepted, [r.row for r in report.refused]) == (2, [3])
    assert [e.action for _, e in await home.store.profiles.events()] == [Action.LIKE, Action.DISLIKE]
    constant = await run(home, path, EventColumns(constant=Action.CLICK))
    assert constant.accepted == 3


@pytest.mark.parametrize(
    ("rating", "action"),
    [
        (5, Action.LIKE),
        (4, Action.LIKE),
        (3.5, Action.CLICK),
        (3, Action.CLICK),
        (2.5, Action.IMPRESSION),
        (2, Action.DISLIKE),
    ],
)
def test_the_steps_of_ratings(rating: float, action: Action) -> None:
    assert rating_action(rating) is action


async def test_forgotten_users_stay_forgotten(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,action,time\nmia,a,click,1000\n")
    await run(home, path)
    await home.store.profiles.forget("mia")
    report = await run(home, path)
    assert (report.accepted, report.unchanged) == (0, 1)
    assert await home.store.profiles.embedding("mia", MEAN) is None
