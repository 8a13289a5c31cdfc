"""Importing events: each once, actions from columns, constants or ratings, times in the usual forms."""

from pathlib import Path

import pytest
from eyecatch.core.behaviour.shown import ShownCovers
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Action, Item
from eyecatch.importing import EventColumns, ImportOptions, Report, Table, import_events

from tests.contracts.builders import MEAN, cover, event
from tests.unit.importing.conftest import Home


async def run(
    home: Home, path: Path, columns: EventColumns | None = None, options: ImportOptions | None = None
) -> Report:
    await home.store.catalog.upsert_items([Item("a", "A"), Item("b", "B")])
    stores = (home.store.profiles, home.store.catalog, MEAN)
    return await import_events(Table(path), *stores, columns, options=options)


async def actions(home: Home) -> list[str]:
    return [event.action.name.lower() for _, event in await home.store.profiles.events()]


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


async def test_an_event_about_a_cover_of_another_item_is_refused(home: Home, tmp_path: Path) -> None:
    await home.store.catalog.upsert_items([Item("a", "A"), Item("b", "B")], [cover("c1", "a"), cover("c2", "b")])
    path = tmp_path / "events.csv"
    rows = ["mia,a,c1", "mia,a,c2", "mia,b,c2", "mia,b,deleted", "mia,b,"]
    path.write_text(
        "user,item,cover,action,time\n" + "".join(f"{row},click,{1.7e9 + n}\n" for n, row in enumerate(rows))
    )
    report = await run(home, path)
    assert (report.accepted, report.rows) == (4, 5)
    assert [(r.row, r.reason) for r in report.refused] == [
        (2, "event.cover_id: got 'c2'; allowed: a cover of the item 'a', or none")
    ]


async def test_a_cover_that_moved_to_another_item_is_not_refused_by_an_old_answer(home: Home) -> None:
    await home.store.catalog.upsert_items([Item("a", "A"), Item("b", "B")], [cover("c", "a")])
    covers = ShownCovers(home.store.catalog)
    assert not await covers.of_other_items([event("e", item_id="a", cover_id="c")])
    await home.store.catalog.add_covers([cover("c", "b")])
    assert not await covers.of_other_items([event("e", item_id="b", cover_id="c")])


async def test_bad_rows_are_refused_and_good_ones_stay(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "user,item,action,time,dwell_ms\n"
        "mia,a,click,1700000000,\nmia,unknown,click,1700000000,\nmia,a,jump,1700000000,\nmia,a,click,yesterday,\n"
        "mia,a,click,-5,\n,a,click,1700000000,\nmia,a,dwell,1700000000,many\nmia,a,dwell,1700000000,1e400\nmia,a,click,99999999999,\n"
    )
    report = await run(home, path)
    assert report.accepted == 1
    reasons = {r.row: r.reason for r in report.refused}
    assert list(reasons) == [2, 3, 4, 5, 6, 7, 8, 9]
    for row, words in {
        2: "no item 'unknown'",
        3: "dislike",
        4: "ISO 8601",
        5: "from 1990 to 2100",
        6: "user_id",
        7: "dwell_ms",
        9: "from 1990 to 2100",
    }.items():
        assert words in reasons[row]


async def test_ratings_become_actions(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("userId,movieId,rating,timestamp\n1,a,4.0,964982703\n1,b,0.5,964981247\n2,a,x,1700000000\n")
    with pytest.raises(InvalidInput, match=r"columns\.action"):
        await run(home, path)
    report = await run(home, path, EventColumns(rating="rating"))
    assert (report.accepted, [r.row for r in report.refused]) == (2, [3])
    assert [e.action for _, e in await home.store.profiles.events()] == [Action.LIKE, Action.DISLIKE]
    constant = await run(home, path, EventColumns(constant=Action.CLICK))
    assert constant.accepted == 3


async def test_forgotten_users_stay_forgotten(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,action,time\nmia,a,click,1700000000\n")
    await run(home, path)
    await home.store.profiles.forget("mia")
    report = await run(home, path)
    assert (report.accepted, report.unchanged) == (0, 1)
    assert await home.store.profiles.embedding("mia", MEAN) is None


async def test_ratings_above_five_stars_need_a_scale(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    values = (-1, 0, 1, 4, 5, 6, 8, 10, 100)
    path.write_text("user,item,rating,time\n" + "".join(f"u{n},a,{v},1700000000\n" for n, v in enumerate(values)))
    with pytest.raises(InvalidInput, match=r"rating: got 100, the highest of the table; allowed: 0\.5 to 5 stars"):
        await run(home, path, EventColumns(rating="rating"))
    assert await actions(home) == []
    report = await run(home, path, EventColumns(rating="rating", scale="1-10"))
    assert (report.accepted, [r.row for r in report.refused]) == (6, [1, 2, 9])
    assert await actions(home) == ["dislike", "dislike", "impression", "click", "like", "like"]


async def test_ratings_that_mean_not_rated_are_refused(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,rating,time\nu,a,0,1700000000\nu,a,-1,1700000001\nu,a,4,1700000002\nu,b,2,1700000003\n")
    report = await run(home, path, EventColumns(rating="rating"))
    assert (await actions(home), [r.row for r in report.refused]) == (["like", "dislike"], [1, 2])
    assert "0 and -1 often mean that somebody has not rated" in report.refused[0].reason


async def test_a_missing_dwell_time_is_none_and_a_missing_user_is_refused(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    rows = [
        '"u", "dwell_ms": NaN',
        '"u", "dwell_ms": "nan"',
        '"nan"',
        "null",
        "NaN",
        '{"$oid": "1"}',
        "1.5e22",
        '"1.5E+12"',
    ]
    path.write_text(
        "".join(
            f'{{"item": "a", "action": "click", "time": {n + 1700000000}, "user": {row}}}\n'
            for n, row in enumerate(rows)
        )
    )
    report = await run(home, path)
    assert (report.accepted, [r.row for r in report.refused]) == (2, [3, 4, 5, 6, 7, 8])
    assert [event.dwell_ms for _, event in await home.store.profiles.events()] == [0, 0]
    assert "a spreadsheet has shortened" in report.refused[-1].reason


async def test_stated_units_and_forms_of_times_are_read(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,action,time\nmia,a,click,1000\n")
    assert (await run(home, path)).refusals == 1
    assert (await run(home, path, EventColumns(time_unit="s"))).accepted == 1
    path.write_text("user,item,action,time\nmia,b,click,11/15/2019 8:55:22 AM\n")
    assert "--time-format" in (await run(home, path)).refused[0].reason
    assert (await run(home, path, EventColumns(time_format="%m/%d/%Y %I:%M:%S %p"))).accepted == 1
    times = [event.time for _, event in await home.store.profiles.events()]
    assert times == [1000, 1573808122]
    with pytest.raises(InvalidInput, match="time_unit: got 'hours'; allowed: s, ms, us, ns"):
        await run(home, path, EventColumns(time_unit="hours"))


async def test_a_check_counts_as_an_import_does_and_stores_nothing(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,action,time\nmia,a,click,1700000000\nmia,x,click,1700000000\nmia,a,jump,1700000000\n")
    report = await run(home, path, options=ImportOptions(check=True))
    assert (report.accepted, [r.row for r in report.refused]) == (1, [2, 3])
    assert (report.examples[0]["user_id"], report.examples[0]["action"]) == ("mia", "click")
    assert await actions(home) == []
