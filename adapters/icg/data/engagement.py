"""Posts and their engagement: tables of social posts, or a catalogue's impressions and clicks. Knows no picture and no model.

Shaped like BoigBench (arXiv:2311.10995): account, time, text, picture, KPI. The value of a KPI depends on the account, so KPIs become
buckets: low, medium and high, cut at each account's own 60th and 90th percentile.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, fields
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from icg.data.behaviour import CLICK, IMPRESSION
from icg.data.catalogue import Catalogue, RowReport, Splits
from icg.data.tables import Row, Table
from icg.data.times import NoZoneError, seconds
from icg.errors import IcgError, InputError
from icg.pictures import inside

ACCOUNT_ID, ACCOUNT = (
    ("account_id", "user_id", "author_id", "page_id"),
    ("account", "username", "author", "company", "brand"),
)
TIME = ("time", "timestamp", "date", "created_at", "posted_at")
TEXT = ("text", "tweet", "caption", "title", "content")
MEDIA = ("media", "image", "picture", "cover", "media_path", "image_path")
KPI = ("kpi", "likes", "like_count", "favorite_count", "engagement", "clicks")

BUCKETS = ("low", "medium", "high")
PERCENTILES = (60.0, 90.0)
FLOORS = (1.0, 2.0)
"""KPIs up to these are never medium, or high, even for an account with less engagement."""
FEW = 10
"""Accounts with fewer posts have no meaningful percentiles: they share those of all such accounts."""
PRIOR = 20.0
"""Weight, in impressions, of the mean click rate in a cover's click rate."""


@dataclass(frozen=True)
class Posts:
    """Columns of N posts in order of time: account (N,), time (N,) in UTC seconds, text (N,), picture (N,) paths, kpi (N,) from 0."""

    account: np.ndarray
    time: np.ndarray
    text: np.ndarray
    picture: np.ndarray
    kpi: np.ndarray

    def __post_init__(self) -> None:
        sizes = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(sizes.values())) != 1:
            raise IcgError(f"columns of posts of lengths {sizes}; allowed: one length")
        if len(self) == 0 or not (np.isfinite(self.kpi) & (self.kpi >= 0)).all():
            raise IcgError(f"kpi of {len(self)} posts is empty, negative or not finite; allowed: numbers from 0")
        if not self.kpi.any():
            raise IcgError(f"kpi=0 in all {len(self)} posts; allowed: some engagement, or there is nothing to learn")
        if (np.diff(self.time) < 0).any():
            raise IcgError("posts are not ordered; allowed: in the order of time")

    def __len__(self) -> int:
        return len(self.kpi)

    def take(self, rows: np.ndarray) -> Posts:
        """The posts of `rows` (indices in order of time, or booleans)."""
        return Posts(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def of(cls, account: object, time: object, text: object, picture: object, kpi: object) -> Posts:
        """Posts from columns in any order of rows."""
        order = np.argsort(np.asarray(time, float), kind="stable")
        accounts, texts, pictures = (np.asarray(column, object)[order] for column in (account, text, picture))
        return cls(accounts, np.asarray(time, float)[order], texts, pictures, np.asarray(kpi, float)[order])


def load(path: Path, folder: Path, report: RowReport, zone: str = "") -> Posts:
    """Posts of a table whose pictures are in `folder`; rows that cannot be used go to `report`.

    An account is identified by an id if the table has one; else by name, in any case and Unicode spelling, so two accounts of one name
    become one. A time is UNIX seconds (or milliseconds), or ISO 8601 with its zone; `zone` (as "Europe/Paris") is that of times without
    one, which are otherwise refused. Raises IcgError for a table without its columns or any engagement, and for an unknown zone.
    """
    try:
        local = ZoneInfo(zone) if zone else None
    except (KeyError, ValueError, OSError) as error:
        raise IcgError(f"zone={zone!r}; allowed: a name of the IANA database, for example UTC") from error
    table = Table(path)
    id = table.column(ACCOUNT_ID, required=False)
    account, time, text, media, kpi = id or table.column(ACCOUNT), *map(table.column, (TIME, TEXT, MEDIA, KPI))
    columns = _Columns(account, id != "", time, text, media, kpi)
    rows: list[tuple[str, float, str, Path, float]] = []
    for row in table.rows():
        try:
            rows.append(_post(row, columns, folder, local))
            report.accepted += 1
        except _UnusableError as error:
            report.refuse(error.kind, path.name, row.number, row.values.get(account, ""), str(error))
    if not rows:
        raise IcgError(f"table={str(path)!r}: no usable post ({report}); allowed: at least one")
    return Posts.of(*zip(*rows, strict=True))


class _UnusableError(IcgError):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class _Columns:
    account: str
    by_id: bool
    time: str
    text: str
    media: str
    kpi: str


def _post(row: Row, columns: _Columns, folder: Path, zone: ZoneInfo | None) -> tuple[str, float, str, Path, float]:
    if row.problem:
        raise _UnusableError("a damaged row", row.problem)
    account = row.values[columns.account]
    if not columns.by_id:
        account = " ".join(unicodedata.normalize("NFKC", account).casefold().split())
    if not account:
        raise _UnusableError("no account", f"{columns.account}=''; allowed: a name")
    kpi = row.values[columns.kpi]
    value = _number(kpi)
    if value is None or value < 0:
        raise _UnusableError("a bad kpi", f"{columns.kpi}={kpi[:80]!r}; allowed: a number from 0")
    try:
        picture = inside(folder, row.values[columns.media])
    except InputError as error:
        raise _UnusableError("no such picture", str(error)) from None
    try:
        time = seconds(row.values[columns.time], zone, columns.time)
    except InputError as error:
        kind = "a time without zone" if isinstance(error, NoZoneError) else "a bad time"
        raise _UnusableError(kind, str(error)) from None
    return account, time, row.values[columns.text], picture, value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def from_catalogue(folder: Path, report: RowReport) -> Posts:
    """Covers with impressions: the account is the item's category, the KPI clicks per thousand impressions, smoothed towards the mean
    by `PRIOR` impressions; the time is that of the first impression. Raises IcgError without events or impressions."""
    catalogue = Catalogue.open(folder, Splits(0.0, 0.0))
    examples = list(catalogue.examples(report))
    if catalogue.events is None:
        raise IcgError(f"data={str(folder)!r}: no table of events; allowed: one with impressions and clicks")
    log = catalogue.log({e.cover: (n, e.item) for n, e in enumerate(examples)}, report)
    shown, clicked = log.action == IMPRESSION, log.action == CLICK
    if not (shown.any() and clicked.any()):
        raise IcgError(
            f"events of {str(folder)!r} hold {shown.sum()} impressions and {clicked.sum()} clicks; allowed: some of both"
        )
    count, clicks = (np.bincount(log.cover[rows], minlength=len(examples)) for rows in (shown, clicked))
    rate = 1000 * (clicks + PRIOR * clicks.sum() / count.sum()) / (count + PRIOR)
    first = np.full(len(examples), np.inf)
    np.minimum.at(first, log.cover[shown], log.time[shown])
    rows = [(e.category, first[n], e.title, e.path, rate[n]) for n, e in enumerate(examples) if count[n]]
    return Posts.of(*zip(*rows, strict=True))


def buckets(
    posts: Posts,
    known: np.ndarray,
    percentiles: tuple[float, float] = PERCENTILES,
    floors: tuple[float, float] = FLOORS,
) -> np.ndarray:
    """(N,) 0 low, 1 medium, 2 high, cut at each account's percentiles of its posts in `known` (N,), booleans.

    Accounts of fewer than FEW known posts share the percentiles of all such accounts (or of all posts, if these are few as well). An
    account without any engagement is always low. Raises IcgError without known posts.
    """
    if not known.any():
        raise IcgError("known=0 posts; allowed: at least one, to cut buckets at")
    names, account = np.unique(posts.account.astype(str), return_inverse=True)
    few = np.bincount(account[known], minlength=len(names)) < FEW
    shared = known & few[account]
    everyone = np.percentile(posts.kpi[shared if shared.sum() >= FEW else known], percentiles)
    cuts = np.array(
        [
            everyone if few[n] else np.percentile(posts.kpi[known & (account == n)], percentiles)
            for n in range(len(names))
        ]
    )
    limits = np.maximum(cuts, floors)[account]
    return (posts.kpi[:, None] > limits).sum(1) * (posts.kpi > 0)


def temporal(posts: Posts, validation: float = 0.15, test: float = 0.15) -> np.ndarray:
    """(N,) 0 training, 1 validation, 2 test: the latest posts are the test. Posts of one moment stay together."""
    if not (0 < test < 1 and 0 < validation < 1 - test):
        raise IcgError(f"validation={validation}, test={test}; allowed: shares above 0 that leave some")
    starts = np.quantile(posts.time, (1 - validation - test, 1 - test), method="higher")
    split: np.ndarray = np.searchsorted(starts, posts.time, side="right")
    if len(np.unique(split)) < 3:
        raise IcgError(
            f"{len(posts)} posts of {len(np.unique(posts.time))} moments; allowed: enough to split them by time"
        )
    return split
