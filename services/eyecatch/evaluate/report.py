"""A recall job as one HTML page without scripts: what was measured and how, every figure, and pictures of hits and misses of a few users.

Users have numbers, never ids. Knows the ports, no store.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from eyecatch.core.errors import EyecatchError
from eyecatch.core.ports import Blobs
from eyecatch.evaluate.recall import Outcome
from eyecatch.evaluate.results import COMPARED, Interval, Recall

SHOWN, TOP, EDGE = 6, 10, 96
"""Users with pictures, items of each list, and the longer edge of a picture in pixels."""
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;display:block;overflow-x:auto}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;
text-align:right;white-space:nowrap}td:first-child,th:first-child{text-align:left}.ours td{background:#eef6ee;font-weight:600}
figure{display:inline-block;margin:.2rem;width:7rem;font-size:11px;line-height:1.25;vertical-align:top}
img{max-width:100%;height:96px;object-fit:cover;border:4px solid transparent}
.hit img{border-color:#2a8a3e}.none{display:block;height:104px;background:#eee}small{color:#666}"""


async def page(outcome: Outcome, blobs: Blobs) -> str:
    """The page; pictures are inside it."""
    result = outcome.result
    parts = [f"<!doctype html><meta charset=utf-8><title>Recall</title><style>{STYLE}</style><h1>Recall</h1>"]
    split = "the last engagements of each user" if result.split == "last" else "all engagements after a point in time"
    parts.append(
        f"<p>{result.users} users, {result.items} items, {result.held_out} hidden engagements ({escape(result.target)}): {split} are "
        f"hidden, and all items that a user does not know are ranked. {escape(result.note)}</p>"
    )
    parts += [_figures(result), _differences(result), _buckets(result), _cold(result), _tuning(result), _counts(result)]
    parts.append(await _users(outcome, blobs))
    return "\n".join(part for part in parts if part)


def table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[object]], ours: str = "") -> str:
    """An HTML table below a heading; the row of `ours` is marked."""
    head = "".join(f"<th>{escape(str(c))}" for c in columns)
    body = "".join(
        f"<tr{' class=ours' if row[0] == ours else ''}>" + "".join(f"<td>{escape(str(c))}" for c in row) for row in rows
    )
    return f"<h2>{escape(heading)}</h2><table><tr>{head}{body}</table>"


def _figures(result: Recall) -> str:
    names = list(next(iter(result.rankings.values())).figures)
    rows = [
        (
            name,
            *(str(row.figures[n]) for n in names),
            f"{row.coverage:.3f}",
            f"{row.spread['recall@20']:.4f}",
            row.seeds,
        )
        for name, row in result.rankings.items()
    ]
    heading = "Figures: mean over users and 95 % bootstrap interval"
    return table(heading, ("ranking", *names, "coverage@20", "spread of recall@20", "seeds"), rows, result.ours)


def _differences(result: Recall) -> str:
    heading, columns = f"{result.ours} minus each other, on the same users", ("ranking", *COMPARED, "by recall@20")
    out = table(heading, columns, _rows(result.ahead))
    if len(result.covers) > 1:
        heading = "Covers: original (profile), generated for nobody, for the user and for another user"
        out += table(heading, ("difference, on the same users", *columns[1:]), _rows(result.covers))
    return out


def _rows(differences: Mapping[str, Mapping[str, Interval]]) -> list[tuple[str, ...]]:
    return [
        (name, *(str(by[metric]) for metric in COMPARED), _verdict(by["recall@20"])) for name, by in differences.items()
    ]


def _verdict(difference: Interval) -> str:
    if difference.low > 0:
        return "ahead"
    return "behind" if difference.high < 0 else "cannot be told apart"


def _buckets(result: Recall) -> str:
    out = []
    for title, field in (("popularity of the hidden item", "by_popularity"), ("the user's history", "by_history")):
        rows = [(name, getattr(row, field)) for name, row in result.rankings.items()]
        columns = list(rows[0][1])
        cells = [(name, *(str(by[c]) if c in by else "" for c in columns)) for name, by in rows]
        out.append(table(f"recall@20 by {title}", ("ranking", *columns), cells, result.ours))
    return "".join(out)


def _cold(result: Recall) -> str:
    rows = [
        (c.name, c.hidden, c.items, str(c.recall20), f"{c.chance:.4f}", str(c.over_random)) for c in result.cold_items
    ]
    columns = ("ranking", "hidden", "among", "recall@20", "chance", "relative to chance")
    return table("Items that nobody is known to have engaged with, by content alone", columns, rows) if rows else ""


def _tuning(result: Recall) -> str:
    """What was tried of each ranking, in its order, and the budget."""
    if not result.budget:
        return ""
    totals, every = [], []
    for name, row in result.rankings.items():
        for one in row.tried:
            mark = "chosen" if one.options == row.options else ""
            every.append((name, _words(one.options), one.rounds or "", f"{one.value:.4f}", f"{one.seconds:.1f}", mark))
        if row.tried:
            seconds, rounds = sum(one.seconds for one in row.tried), sum(one.rounds for one in row.tried)
            totals.append((name, len(row.tried), rounds or "", f"{seconds:.1f}", _words(row.options)))
    columns = ("ranking", "configurations", "rounds", "seconds", "chosen")
    budget = ", ".join(f"{name} {value}" for name, value in result.budget.items())
    note = (
        "A round is a twentieth of the steps of SASRec and the encoder, some passes over the data of iALS and BPR; the others have a "
        f"closed form. {result.ours} has the budget of its parts as well as its own."
    )
    return (
        table("Tuning on a validation split of what is known", columns, totals)
        + f"<p>The budget of each: {escape(budget)}. {escape(note)}</p>"
        + table("What was tried", ("ranking", "options", "rounds run", "NDCG@20 on validation", "seconds", ""), every)
    )


def _words(options: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in options.items()) or "defaults"


def _counts(result: Recall) -> str:
    return table("Counted in the data", ("what", "how many"), list(result.counts.items())) if result.counts else ""


async def _users(outcome: Outcome, blobs: Blobs) -> str:
    """Users spread evenly over those ordered by their recall, so that hits and misses are both there."""
    split, behaviour = outcome.split, outcome.behaviour
    ranks = next(r for r in outcome.rankings if r.name == outcome.result.ours).ranks[0]
    recalls = np.array([np.isin(ranks.top[n, :20], split.of(n)).mean() for n in range(len(split.users))])
    order = np.argsort(-recalls, kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).astype(int))]
    pictures: dict[int, str] = {}
    covers = behaviour.covers
    first = {int(item): n for n, item in reversed(list(enumerate(covers.item_of.tolist()))) if not covers.generated[n]}

    async def figure(item: int, hit: bool, note: str = "") -> str:
        if item not in pictures:
            pictures[item] = await picture(blobs, covers.uri[first[item]]) if item in first else ""
        shape = f"<img src='{pictures[item]}' alt=''>" if pictures[item] else "<span class=none></span>"
        title = escape(behaviour.items[item].title[:60])
        return f"<figure{' class=hit' if hit else ''}>{shape}<br>{title} <small>{note}</small></figure>"

    out = ["<h2>Hits and misses</h2><p>A green frame: what the user engaged with later.</p>"]
    start = split.known.start
    for n in picked:
        user, hidden = split.users[n], split.of(n)
        rank = dict(zip(hidden.tolist(), ranks.rank[split.ends[n] : split.ends[n + 1]].tolist(), strict=True))
        known = split.known.item[start[user] : start[user + 1]][-TOP:][::-1].tolist()
        top = [int(item) for item in ranks.top[n, :TOP] if item >= 0]
        out.append(f"<h3>User {n + 1}</h3><p>known, latest first</p>")
        out += [await figure(int(item), False) for item in known]
        out.append("<p>ranked first</p>")
        out += [await figure(item, item in rank) for item in top]
        out.append("<p>hidden, with their ranks</p>")
        out += [await figure(item, place <= 20, f"rank {place}") for item, place in rank.items()]
    return "".join(out)


async def picture(blobs: Blobs, uri: str) -> str:
    """A data URI of a small copy; "" for a picture that cannot be read."""
    from icg.errors import IcgError
    from icg.pictures import decode

    try:
        image = decode(await blobs.get(uri), uri)
    except (EyecatchError, IcgError, OSError):
        return ""
    image.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.convert("RGB").save(out, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
