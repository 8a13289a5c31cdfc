"""Does a server do harm on a catalogue of real artwork? `python -m tests.real_catalogue --items ... --covers ... --events ...`

It imports the tables, runs `eyecatch serve` with default flags, then with trials, asks for covers as a recommender does while covers are
drawn, and counts the answers in which a made cover stands in a catalogue cover's place. Writes a contact sheet of originals and made
covers. The last line is one JSON object; the status is 1 if a cover was displaced, or by trials more often than the flag says.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyecatch.client import Client, connect
from eyecatch.v1 import covers_pb2, types_pb2
from icg.contact_sheet import Cell, Row, contact_sheet
from icg.pictures import decode

from tests.e2e.conftest import run, serving

SHARE = 0.05
USERS, ITEMS, WISHES, SHEET = 5, 60, 10, 6


@dataclass
class Answers:
    """What a phase showed: decisions, those that show a made cover of an item with catalogue covers, and the covers made meanwhile."""

    decisions: int = 0
    displaced: int = 0
    covers: dict[tuple[str, str], types_pb2.Cover] = field(default_factory=dict)
    """By user and item."""

    @property
    def share(self) -> float:
        return self.displaced / max(1, self.decisions)

    def allowed(self, share: float) -> float:
        """The largest share that chance explains (four deviations)."""
        return share + 4 * (share * (1 - share) / max(1, self.decisions)) ** 0.5


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def imported(args: argparse.Namespace, folder: Path) -> tuple[list[str], list[str]]:
    """Import `args.most` items and their events; returns the users with most events, and items for them."""
    items, events = read(args.items)[: args.most], read(args.events)
    item_column, user_column = next(iter(items[0])), next(n for n in events[0] if "user" in n.lower())
    event_item = next(n for n in events[0] if n.lower() in ("movieid", "item_id", "item"))
    known = {item[item_column] for item in items}
    events = [event for event in events if event[event_item] in known]
    data = ("--data-dir", str(folder / "data"))
    run("import", "items", str(write(folder / "items.csv", items)), "--images", str(args.covers), *data)
    rating = ("--rating-column", args.rating_column) if args.rating_column else ()
    run("import", "events", str(write(folder / "events.csv", events)), *rating, *data)
    users = [user for user, _ in Counter(event[user_column] for event in events).most_common(USERS)]
    step = max(1, len(items) // ITEMS)
    return users, [item[item_column] for item in items[::step]][:ITEMS]


def draw(client: Client, user: str, item: str) -> types_pb2.Cover:
    request = covers_pb2.GenerateCoversRequest(user_id=user, item_id=item, seed=7)
    updates = client.covers.GenerateCovers(request, timeout=300)
    return next(update.cover for update in updates if update.WhichOneof("update") == "cover")


@contextmanager
def phase(folder: Path, *flags: str) -> Iterator[Client]:
    with serving(folder / "data", *flags) as (address, _), connect(address) as client:
        yield client


def ask(client: Client, users: Sequence[str], items: Sequence[str], seconds: float) -> Answers:
    """Draw covers of some items for two users, and ask for all items until the time is over."""
    answers = Answers()
    generated: dict[str, bool] = {}
    end = time.monotonic() + seconds
    wishes = [(user, item) for item in items[:WISHES] for user in users[:2]]
    while time.monotonic() < end or wishes:
        if wishes:
            user, item = wishes.pop(0)
            answers.covers[user, item] = draw(client, user, item)
        for user in users:
            request = covers_pb2.RecommendCoversRequest(user_id=user, item_ids=items)
            shown = [
                (i.item_id, c.cover_id)
                for i in client.covers.RecommendCovers(request, timeout=30).items
                for c in i.covers
            ]
            answers.decisions += len(shown)
            answers.displaced += sum(is_made(client, cover, generated) for _, cover in shown)
    return answers


def is_made(client: Client, cover_id: str, known: dict[str, bool]) -> bool:
    """`known` caches the answers by cover."""
    if cover_id not in known:
        cover = client.covers.GetCover(covers_pb2.GetCoverRequest(cover_id=cover_id), timeout=30).cover
        known[cover_id] = cover.provenance.origin == types_pb2.ORIGIN_GENERATED
    return known[cover_id]


def sheet(
    client: Client,
    users: Sequence[str],
    items: Sequence[str],
    covers: dict[tuple[str, str], types_pb2.Cover],
    out: Path,
) -> None:
    """Originals above, then the covers made for each of two users, with what the gates say."""
    originals = []
    for item in items[:SHEET]:
        listed = client.covers.ListCovers(covers_pb2.ListCoversRequest(item_id=item), timeout=30).covers
        first = next(c for c in listed if c.provenance.origin == types_pb2.ORIGIN_CATALOGUE)
        get = covers_pb2.GetCoverRequest(cover_id=first.id, include_image=True)
        originals.append(Cell(decode(client.covers.GetCover(get, timeout=30).cover.image), "original"))
    rows = [Row("originals", "what users see by default", originals)]
    for user in users[:2]:
        cells = []
        for item in items[:SHEET]:
            cover = covers[user, item]
            trust = types_pb2.Trust.Name(cover.trust).removeprefix("TRUST_").lower()
            cells.append(
                Cell(decode(cover.image), "; ".join([trust, *(reason.split(";")[0] for reason in cover.reasons)]))
            )
        rows.append(Row(user, "covers made for this user, and the gates they failed", cells))
    contact_sheet(rows, list(items[:SHEET]), "A real catalogue", "originals, and made covers").save(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=Path, required=True, help="table of items, ids in the first column")
    parser.add_argument("--covers", type=Path, required=True, help="folder that the pictures' paths start from")
    parser.add_argument("--events", type=Path, required=True, help="table of events or ratings")
    parser.add_argument("--rating-column", default="", help="column of ratings, if the events are ratings")
    parser.add_argument("--most", type=int, default=1500, help="items to import")
    parser.add_argument("--seconds", type=float, default=180.0, help="duration of each phase")
    parser.add_argument("--out", type=Path, default=Path("real-catalogue.png"), help="contact sheet")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        users, items = imported(args, folder)
        with phase(folder) as client:
            default = ask(client, users, items, args.seconds)
            sheet(client, users, items, default.covers, args.out)
        with phase(folder, "--made-covers", "trial", "--trial-share", str(SHARE), "--trial-every-s", "2") as client:
            trial = ask(client, users, items, args.seconds)
    new = [*default.covers.values(), *trial.covers.values()]
    result: dict[str, Any] = {
        "decisions_default": default.decisions,
        "displaced_default": default.displaced,
        "decisions_trial": trial.decisions,
        "displaced_trial_share": round(trial.share, 5),
        "allowed_trial_share": SHARE,
        "covers_made": len(new),
        "covers_passed": sum(not cover.reasons for cover in new),
    }
    print(json.dumps(result))
    return int(default.displaced > 0 or trial.share > trial.allowed(SHARE))


if __name__ == "__main__":
    sys.exit(main())
