"""Public data sets load as they are downloaded. The rows here are made up, in the layouts that their pages describe."""

import gzip
import json
from pathlib import Path

import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.importing import Report, import_events, import_items
from eyecatch.importing.layouts import GENRES, Layout, recognise

from tests.contracts.builders import MEAN
from tests.unit.importing.conftest import Home


def movielens(folder: Path) -> None:
    (folder / "movies.csv").write_text('movieId,title,genres\n1,Toy Story (1995),Comedy|Drama\n2,"Heat, The",Crime\n')
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,0.5,964981247\n")


def movielens_100k(folder: Path) -> None:
    def line(id: int, title: str, *genres: str) -> str:
        flags = "|".join(str(int(name in genres)) for name in GENRES)
        return f"{id}|{title}|01-Jan-1995||http://us.imdb.com/M/title-exact?{id}|{flags}\n"

    text = line(1, "Toy Story (1995)", "Comedy", "Drama") + line(2, 'Misérables, Les "1995"', "Crime")
    (folder / "u.item").write_bytes(text.encode("latin-1"))
    (folder / "u.data").write_text("1\t1\t4\t881250949\n1\t2\t1\t881250950\n")
    (folder / "u.genre").write_text("unknown|0\n")


def movielens_1m(folder: Path) -> None:
    (folder / "movies.dat").write_bytes(
        "1::Toy Story (1995)::Comedy|Drama\n2::Misérables, Les: 1995::Crime\n".encode("latin-1")
    )
    (folder / "ratings.dat").write_text("1::1::5::978300760\n1::2::2::978302109\n")


def mind(folder: Path) -> None:
    (folder / "MINDsmall_train").mkdir()
    news = [
        '1\tsports\tsoccer\t"Big" win\tAn abstract, "half\thttps://x\t[]\t[{"Label": "x"}]',
        "2\tnews\tworld\tElection\t\thttps://y\t[]\t[]",
    ]
    (folder / "MINDsmall_train" / "news.tsv").write_text("\n".join(news) + "\n")
    rows = ["7\tU1\t11/15/2019 8:55:22 AM\t1 9\t1-1 2-0", "8\tU2\t11/15/2019 1:05:00 PM\t\t9-1"]
    (folder / "MINDsmall_train" / "behaviors.tsv").write_text("\n".join(rows) + "\n")


def amazon(folder: Path) -> None:
    large = [{"large": "https://m.media-amazon.com/1.jpg", "hi_res": None}]
    items = [
        {"parent_asin": str(n), "title": f"Comb {n}", "main_category": "All Beauty", "images": large} for n in (1, 2)
    ]
    review = {
        "rating": 5.0,
        "title": "Nice",
        "asin": "B0",
        "parent_asin": "1",
        "user_id": "A",
        "timestamp": 1588687728923,
    }
    reviews = [review, review | {"rating": 1.0, "parent_asin": "2"}]
    for name, rows in (("meta_All_Beauty.jsonl.gz", items), ("All_Beauty.jsonl.gz", reviews)):
        (folder / name).write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))


def pixelrec(folder: Path) -> None:
    for name, header, rows in (
        (
            "pixelrec_iteminfo",
            "item_id,view_number,comment_number,title,tag,description",
            ["1,9,1,Cats,pets,", '2,9,1,Dogs,pets,"a\n\nb"'],
        ),
        ("pixelrec_interaction", "item_id,user_id,timestamp", ["1,u1,1600000000", "2,u1,1600000001"]),
    ):
        (folder / name).mkdir()
        (folder / name / "Pixel200K.csv").write_text("\n".join([header, *rows]) + "\n")


def microlens(folder: Path) -> None:
    (folder / "MicroLens-50k_titles.csv").write_text("item,title\n1,Cats\n2,Dogs\n")
    (folder / "MicroLens-50k_pairs.csv").write_text("user,item,timestamp\n1,1,1583378629552\n1,2,1583378629553\n")
    (folder / "MicroLens-50k_pairs.tsv").write_text("1\t1 2\n")


async def load(home: Home, folder: Path) -> tuple[Layout, Report, Report]:
    layout, items, events = recognise(folder)
    first = await import_items(layout.items.open(items), folder, home.catalog, home.blobs, layout.item_columns(False))
    table = layout.events.open(events)
    stores = (home.store.profiles, home.store.catalog, MEAN)
    return layout, first, await import_events(table, *stores, layout.event_columns(table))


@pytest.mark.parametrize(
    ("write", "name", "titles", "categories", "actions"),
    [
        (movielens, "movielens", ["Toy Story (1995)", "Heat, The"], ["Comedy|Drama", "Crime"], ["like", "dislike"]),
        (
            movielens_100k,
            "movielens-100k",
            ["Toy Story (1995)", 'Misérables, Les "1995"'],
            ["Comedy|Drama", "Crime"],
            ["like", "dislike"],
        ),
        (
            movielens_1m,
            "movielens-1m",
            ["Toy Story (1995)", "Misérables, Les: 1995"],
            ["Comedy|Drama", "Crime"],
            ["like", "dislike"],
        ),
        (mind, "mind", ['"Big" win', "Election"], ["sports", "news"], ["impression", "click", "impression"]),
        (amazon, "amazon", ["Comb 1", "Comb 2"], ["All Beauty", "All Beauty"], ["like", "dislike"]),
        (pixelrec, "pixelrec", ["Cats", "Dogs"], ["pets", "pets"], ["click", "click"]),
        (microlens, "microlens", ["Cats", "Dogs"], ["", ""], ["click", "click"]),
    ],
)
async def test_a_public_data_set_is_recognised_and_loaded(
    home: Home, tmp_path: Path, write: object, name: str, titles: list[str], categories: list[str], actions: list[str]
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder)  # type: ignore[operator]
    layout, items, events = await load(home, folder)
    stored = [await home.store.catalog.item(id) for id in "12"]
    assert layout.name == name
    assert (items.accepted, items.refused, items.warned) == (2, [], 0)
    assert [(item.title, item.category) for item in stored if item] == list(zip(titles, categories, strict=True))
    assert [event.action.name.lower() for _, event in await home.store.profiles.events()] == actions
    assert events.rows == len(actions) + events.refusals


async def test_what_mind_shows_of_unknown_articles_is_refused_and_its_times_are_read(
    home: Home, tmp_path: Path
) -> None:
    mind(tmp_path)
    _, _, events = await load(home, tmp_path)
    assert [(r.row, r.reason) for r in events.refused] == [(2, "no item '9'"), (2, "no item '9'")]
    assert {event.time for _, event in await home.store.profiles.events()} == {1573808122.0}


async def test_covers_beside_a_set_are_named_by_the_item(home: Home, shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    microlens(folder)
    for id in "12":
        (shop / "pictures" / f"{id}.png").rename(shop / f"{id}.jpg")
    layout, items, _ = recognise(folder)
    await import_items(layout.items.open(items), shop, home.catalog, home.blobs, layout.item_columns(True))
    assert [len(pool) for pool in (await home.store.catalog.pools(["1", "2"])).values()] == [1, 1]


def test_a_folder_without_a_known_set_names_the_sets(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"movielens: movies.csv and ratings.csv"):
        recognise(tmp_path)
    movielens(tmp_path)
    assert recognise(tmp_path)[0].name == "movielens"
    with pytest.raises(InvalidInput, match=r"folder: got .*mind: news.tsv and behaviors.tsv"):
        recognise(tmp_path, "mind")
    with pytest.raises(InvalidInput, match=r"kind: got 'netflix'; allowed: movielens, "):
        recognise(tmp_path, "netflix")
