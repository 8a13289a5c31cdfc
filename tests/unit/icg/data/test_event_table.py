"""Tables of events as interactions; what cannot be used is counted."""

from pathlib import Path

import pytest
from icg.data.behaviour import CLICK, DISLIKE, IMPRESSION, LIKE
from icg.data.event_table import read
from icg.errors import IcgError

ITEMS = "item_id,title,genres\na,One,Drama\nb,Two,Comedy\nc,Three,\n"


def written(folder: Path, events: str, items: str = ITEMS) -> tuple[Path, Path]:
    (folder / "events.csv").write_text(events)
    (folder / "items.csv").write_text(items)
    return folder / "events.csv", folder / "items.csv"


def test_ratings_become_actions(tmp_path: Path) -> None:
    rows = "userId,movieId,rating,timestamp\n7,a,5,1700000030\n7,b,3,1700000020\n7,c,2.5,1700000010\n8,a,1,1700000005\n"
    table = read(*written(tmp_path, rows))
    assert table.interactions.action.tolist() == [IMPRESSION, CLICK, LIKE, DISLIKE]
    assert table.interactions.positive.tolist() == [False, True, True, False]
    assert table.texts == ["One Drama", "Two Comedy", "Three"]
    assert table.counts == {"users with one event": 1}


def test_bad_rows_are_counted_by_their_reason(tmp_path: Path) -> None:
    head = "user_id,item_id,action,time\nu,a,click,1.7e9\nu,a,click,1.7e9\nu,x,click,1.7e9\n"
    rows = f"{head}u,b,stare,1.7e9\nu,b,click,soon\n,b,click,1.7e9\nu,b,like,1.7e9\n"
    assert read(*written(tmp_path, rows)).counts == {
        "events told twice": 1,
        "events of unknown items": 1,
        "events without a usable time or action": 2,
        "rows that are damaged or name no user or item": 1,
        "events at the time of the user's event before": 1,
    }


def test_without_a_table_of_items_every_item_counts(tmp_path: Path) -> None:
    table = read(written(tmp_path, "user_id,item_id,action,time\nu,x,click,1.7e9\nu,y,click,1.8e9\n")[0])
    assert (table.items, table.texts) == (["x", "y"], ["", ""])


def test_a_table_without_a_usable_event_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IcgError, match="no usable event"):
        read(*written(tmp_path, "user_id,item_id,action,time\nu,x,click,1.7e9\n"))
    with pytest.raises(IcgError, match="action or rating"):
        read(*written(tmp_path, "user_id,item_id,time\nu,a,1\n"))
