"""Public data sets of recommendation, as they are downloaded -> their tables of items and of behaviour. Knows no store.

MovieLens: https://grouplens.org/datasets/movielens; Amazon Reviews: https://amazon-reviews-2023.github.io; MIND: https://msnews.github.io;
PixelRec: arXiv:2309.06789; MicroLens: arXiv:2309.15379.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from icg.data import column_names
from icg.data.tables import Row, TableOptions

from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Action
from eyecatch.importing.events import EventColumns
from eyecatch.importing.items import ItemColumns
from eyecatch.importing.tables import Table

Expand = Callable[[Row], Iterable[dict[str, str]]]
GENRES = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_RATED = ("user_id", "item_id", "rating", "timestamp")
_MIND_TIME = "%m/%d/%Y %I:%M:%S %p"


class ExpandedTable(Table):
    """A table each of whose rows becomes any number of rows with the columns `names`. Rows keep the numbers of their file."""

    def __init__(self, path: Path, options: TableOptions, names: Sequence[str], expand: Expand) -> None:
        super().__init__(path, options)
        self._names, self._expand, self._count = tuple(names), expand, 0

    @property
    def columns(self) -> tuple[str, ...]:
        return self._names

    @property
    def count(self) -> int:
        return self._count

    def column(self, meaning: str, name: str, common: Sequence[str], required: bool = True) -> str:
        column = next((one for one in ([name] if name else common) if one in self._names), "")
        if required and not column:
            raise InvalidInput.of(f"columns.{meaning}", name, f"one of {', '.join(self._names)}")
        return column

    def batches(self, size: int) -> Iterator[list[Row]]:
        self._count = 0
        rows = (row for batch in super().batches(size) for row in self._rows(batch))
        while batch := list(islice(rows, size)):
            self._count += sum(row.unread or 1 for row in batch)
            yield batch

    def _rows(self, batch: Sequence[Row]) -> Iterator[Row]:
        for row in batch:
            if row.problem or row.unread:
                yield row
            else:
                yield from (Row(row.number, values, unfit=row.unfit) for values in self._expand(row))


@dataclass(frozen=True)
class Plan:
    """A table of a data set: `patterns` of its path, `options` to read it, and the rows that each of its rows becomes."""

    patterns: tuple[str, ...]
    options: TableOptions = field(default_factory=TableOptions)
    names: tuple[str, ...] = ()
    expand: Expand | None = None

    def find(self, folder: Path) -> Path | None:
        """The first file of the folder, or of those in it, that a pattern names."""
        matches = (path for pattern in self.patterns for path in sorted(folder.rglob(pattern)) if path.is_file())
        return next(matches, None)

    def open(self, path: Path) -> Table:
        if self.expand is None:
            return Table(path, self.options)
        return ExpandedTable(path, self.options, self.names, self.expand)


@dataclass(frozen=True)
class Layout:
    """A data set. `rating`: of its events, which else are all `action`. `pictures`: how files of covers are named."""

    name: str
    items: Plan
    events: Plan
    rating: bool = False
    action: Action | None = None
    time_format: str = ""
    pictures: str = ""

    def item_columns(self, has_images: bool) -> ItemColumns:
        return ItemColumns(pictures=(), file_name=self.pictures if has_images else "")

    def event_columns(self, table: Table) -> EventColumns:
        rating = table.column("rating", "", column_names.RATING) if self.rating else ""
        return EventColumns(rating=rating, constant=self.action, time_format=self.time_format)


def _genres(row: Row) -> Iterator[dict[str, str]]:
    """The 19 flags of u.item as names."""
    genres = [name for name in GENRES if row.values.get(name) == "1"]
    yield {"item_id": row.values["item_id"], "title": row.values["title"], "genres": "|".join(genres)}


def _impressions(row: Row) -> Iterator[dict[str, str]]:
    """A row of behaviors.tsv: an impression of each article shown ("N1-0 N2-1"), and a click on those that end in 1."""
    cell = row.values
    for place, shown in enumerate(cell.get("impressions", "").split()):
        article, _, clicked = shown.rpartition("-")
        for action in ("impression", "click") if clicked == "1" else ("impression",):
            event = f"{cell.get('impression_id')}-{place}-{action}"
            yield {
                "event_id": event,
                "user_id": cell["user_id"],
                "item_id": article,
                "action": action,
                "time": cell["time"],
            }


LAYOUTS = (
    Layout("movielens", Plan(("movies.csv",)), Plan(("ratings.csv",)), rating=True),
    Layout(
        "movielens-100k",
        Plan(
            ("u.item",),
            TableOptions(delimiter="|", columns=("item_id", "title", "released", "video", "address", *GENRES)),
            ("item_id", "title", "genres"),
            _genres,
        ),
        Plan(("u.data",), TableOptions(delimiter="tab", columns=_RATED)),
        rating=True,
    ),
    Layout(
        "movielens-1m",
        Plan(("movies.dat",), TableOptions(delimiter="::", columns=("item_id", "title", "genres"))),
        Plan(("ratings.dat",), TableOptions(delimiter="::", columns=_RATED)),
        rating=True,
    ),
    Layout(
        "mind",
        Plan(
            ("news.tsv",),
            TableOptions(
                delimiter="tab",
                columns=(
                    "news_id",
                    "category",
                    "subcategory",
                    "title",
                    "abstract",
                    "url",
                    "entities",
                    "abstract_entities",
                ),
            ),
        ),
        Plan(
            ("behaviors.tsv",),
            TableOptions(delimiter="tab", columns=("impression_id", "user_id", "time", "history", "impressions")),
            ("event_id", "user_id", "item_id", "action", "time"),
            _impressions,
        ),
        time_format=_MIND_TIME,
    ),
    Layout(
        "amazon",
        Plan(("meta_*.json*",)),
        Plan(("*[Rr]eview*.json*", "*_5.json*", "[A-Z]*.json*")),
        rating=True,
        pictures="{id}.jpg",
    ),
    Layout(
        "pixelrec",
        Plan(("item_info*.csv", "*iteminfo*/*.csv", "*item_info*/*.csv")),
        Plan(("*interaction*/*.csv", "*interaction*.csv", "Pixel*.csv")),
        action=Action.CLICK,
        pictures="{id}.jpg",
    ),
    Layout(
        "microlens",
        Plan(("*title*.csv",)),
        Plan(("*_pairs.csv",)),
        action=Action.CLICK,
        pictures="{id}.jpg",
    ),
)


def recognise(folder: Path, name: str = "") -> tuple[Layout, Path, Path]:
    """The data set in `folder`, its table of items and that of behaviour. `name`: one of LAYOUTS, "" for the first whose files are there.

    Raises InvalidInput for a folder without such files.
    """
    if name and name not in {layout.name for layout in LAYOUTS}:
        raise InvalidInput.of("kind", name, ", ".join(layout.name for layout in LAYOUTS))
    for layout in LAYOUTS:
        items, events = layout.items.find(folder), layout.events.find(folder)
        if items and events and name in ("", layout.name):
            return layout, items, events
    names = "; ".join(
        f"{one.name}: {one.items.patterns[0]} and {one.events.patterns[0]}" for one in LAYOUTS if name in ("", one.name)
    )
    raise InvalidInput.of("folder", str(folder), f"a folder with the files of a data set ({names})")
