"""A panel: users whose behaviour is split in time, and items to draw for them. For the permutation test of personalisation.

The older half of a user's events embeds the user for the generator, as the services do. The newer half, on covers that the older one does
not have, is what the user's preference is computed from: no cover can please because it repeats what it was drawn from. From a
catalogue's own tables, or from the starter's art with SIMULATED users. Draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from icg import pictures
from icg.data.art import CATEGORIES, STYLES, Subject, on_white
from icg.data.bank import build
from icg.data.behaviour import ENGAGED, IMPRESSION, Log, population, simulate
from icg.data.catalogue import TRAIN, Catalogue, Example, RowReport, Splits
from icg.data.column_names import PICTURES
from icg.errors import IcgError
from icg.evaluate.permutation import LEAST_USERS
from icg.evaluate.preference import mean_embeddings, served_embeddings
from icg.models.joint import JointEmbedding
from icg.users.examples import examples

MOST_USERS = 24
"""Each item is drawn for all users of a panel, so covers are users times items."""
LONGEST = 1024
"""Pixels of an item's longer edge, as the services keep pictures."""
COVERS = 1500
"""Drawn covers for SIMULATED behaviour."""
LISTS = 30
BATCH = 64

Item = tuple[str, tuple[Image.Image, ...]]
"""Title and pictures."""


@dataclass(frozen=True, eq=False)
class Panel:
    """users (U, D): embeddings from older behaviour; preferences and earlier (U, J): in the judge's space, from newer and older behaviour.

    held_out: how many of the users no recipe of this project trains on. names: their ids, none for SIMULATED ones.
    """

    users: np.ndarray
    preferences: np.ndarray
    earlier: np.ndarray
    held_out: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Spaces:
    """The checkpoint folder `root`, its cover space, and that of the judge, which may be the same object."""

    root: Path
    own: JointEmbedding
    judge: JointEmbedding

    def covers(self, images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """(N, D) in the checkpoint's space and (N, J) in the judge's."""
        own = self.own.covers(images)
        return own, own if self.judge is self.own else self.judge.covers(images)


class Shop:
    """A catalogue's examples and behaviour. Reads no picture. Raises IcgError for a folder without items or events."""

    def __init__(self, data: Path) -> None:
        self.data, self.report, self._splits = data, RowReport(), Splits()
        catalogue = Catalogue.open(data, self._splits)
        if catalogue.events is None:
            raise IcgError(
                f"data={str(data)!r}: no table of events; allowed: events.csv, .jsonl or .parquet beside items"
            )
        self.examples: list[Example] = list(catalogue.examples(self.report))
        self.users: dict[str, int] = {}
        covers = {e.cover: (n, e.item) for n, e in enumerate(self.examples)}
        # A cover of the table of covers shows its item on somebody's ground: the generator starts from the item's own picture.
        pictured = any(catalogue.items.column((name,), required=False) for name in PICTURES)
        own = Catalogue(catalogue.items, data, splits=self._splits).examples(RowReport()) if pictured else self.examples
        self._items = list(own)
        log = catalogue.log(covers, self.report, "", self.users)
        self.log = log.take(log.action != IMPRESSION)

    def panel(self, spaces: Spaces, names: Sequence[str] | None = None) -> Panel:
        """At most MOST_USERS, those that are held out of training first; or those of `names` (ids) who have behaviour in both halves.

        Raises IcgError for fewer than LEAST_USERS.
        """
        start = np.searchsorted(self.log.user, np.arange(len(self.users) + 1))
        picked: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        candidates = sorted(self.users, key=lambda id: Splits.position("user", id)) if names is None else names
        for id in candidates:
            number = self.users.get(id)
            if number is not None and (parts := halves(self.log, int(start[number]), int(start[number + 1]))):
                picked[id] = parts
            if names is None and len(picked) == MOST_USERS:
                break
        if picked:
            older, newer = (stacked(self.log, [parts[n] for parts in picked.values()]) for n in (0, 1))
            table = self._embedded(spaces, np.union1d(older.cover, newer.cover))
            users, preferences, earlier, able = embedded(spaces.root, older, newer, len(picked), table)
            ids = [id for id, kept_user in zip(picked, able, strict=True) if kept_user]
        else:
            ids = []
        if len(ids) < LEAST_USERS:
            of = f"{len(self.users)} users with events" if names is None else f"{len(set(names))} users with covers"
            raise IcgError(
                f"data={str(self.data)!r}: {len(ids)} users with engagements in both halves of their events, of {of}"
                f"{self.report.left_out}; allowed: {LEAST_USERS} or more"
            )
        unseen = sum(self._splits.of("user", id) != TRAIN for id in ids)
        return Panel(users[able], preferences[able], earlier[able], unseen, tuple(ids))

    def items(self) -> Iterator[Item]:
        """Items whose first picture can be read, those that are held out of training first."""
        first: dict[str, Example] = {}
        for example in self._items:
            first.setdefault(example.item, example)
        for item in sorted(first, key=lambda id: Splits.position("item", id)):
            example = first[item]
            try:
                picture = pictures.decode(pictures.read(example.path), example.path.name, "", longest=LONGEST)
            except IcgError:
                self.report.refuse("a damaged picture", "pictures", 0, example.cover, "not readable")
                continue
            yield example.title, (picture,)

    def _embedded(self, spaces: Spaces, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, D) and (N, J) tables of all covers, with embeddings in `rows` only; zeros, which weigh nothing, for an unreadable picture."""
        own, judge = (
            np.zeros((len(self.examples), space.space.linear.shape[1]), np.float32)
            for space in (spaces.own, spaces.judge)
        )
        for i in range(0, len(rows), BATCH):
            readable, images = [], []
            for row in rows[i : i + BATCH]:
                path = self.examples[row].path
                try:
                    images.append(pictures.decode(pictures.read(path), path.name, shortest=LONGEST))
                    readable.append(row)
                except IcgError as error:
                    self.report.refuse("a damaged picture", "pictures", 0, self.examples[row].cover, str(error))
            if images:
                own[readable], judge[readable] = spaces.covers(images)
        return own, judge


def simulated(spaces: Spaces, subjects: list[Subject], seed: int, covers: int = COVERS) -> Panel:
    """MOST_USERS SIMULATED users after behaviour on `covers` covers of the subjects that training uses."""
    training = [s for s in subjects if not s.held_out]
    rng = np.random.default_rng((seed, 9))
    bank = build(training, covers, seed + 501)
    themes = np.array([CATEGORIES.index(s.category) for s in training])
    log, _ = simulate(population(2 * MOST_USERS, rng), bank.look, themes[bank.subject], LISTS, rng, drift=0.0)
    log = log.take(log.action != IMPRESSION)
    ends = np.searchsorted(log.user, np.arange(2 * MOST_USERS + 1))
    parts = [p for a, b in pairwise(ends) if (p := halves(log, int(a), int(b)))][:MOST_USERS]
    if len(parts) < LEAST_USERS:
        raise IcgError(
            f"users={len(parts)} SIMULATED ones with engagements in both halves; allowed: {LEAST_USERS} or more"
        )
    older, newer = (stacked(log, [p[n] for p in parts]) for n in (0, 1))
    table = spaces.covers([Image.fromarray(image) for image in bank.images])
    users, preferences, earlier, able = embedded(spaces.root, older, newer, len(parts), table)
    return Panel(users[able], preferences[able], earlier[able], int(able.sum()))


def drawn_items(subjects: list[Subject]) -> Iterator[Item]:
    """Held-out subjects of the starter's art, or all if none is held out, each in one style."""
    for n, subject in enumerate([s for s in subjects if s.held_out] or subjects):
        yield subject.title, (on_white(subject.sprites[STYLES[n % len(STYLES)]]),)


def halves(log: Log, start: int, end: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of the older half of a user's events, `start` to `end`, and those of the newer half about other covers; None unless there is an
    engagement in both. An odd event is older."""
    older, newer = np.split(np.arange(start, end), [(end - start + 1) // 2])
    newer = newer[~np.isin(log.cover[newer], log.cover[older])]
    engaged = [np.isin(log.action[rows], ENGAGED).any() for rows in (older, newer)]
    return (older, newer) if all(engaged) else None


def stacked(log: Log, rows: list[np.ndarray]) -> Log:
    """The events of `rows`, one array a user, with the users numbered by their place in the list."""
    order = np.concatenate(rows)
    columns = {f.name: getattr(log, f.name)[order] for f in fields(log)}
    return Log(**columns | {"user": np.repeat(np.arange(len(rows)), [len(r) for r in rows])})


def embedded(
    root: Path, older: Log, newer: Log, users: int, tables: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(U, D) embeddings after the older events, (U, J) means of the newer and of the older ones, (U,) whether the first two are not zero.

    tables: covers (N, D) in the checkpoint's space and (N, J) in the judge's. No learned encoder computes the means: a judge needs a cover
    space only.
    """
    rng, (own, judge), rows = np.random.default_rng(0), tables, np.arange(users)
    before, after = (np.bincount(log.user, minlength=users) for log in (older, newer))
    embeddings = served_embeddings(root, older, before, own, rng)
    preferences = mean_embeddings(examples(newer, rng), rows, after, judge)
    earlier = mean_embeddings(examples(older, rng), rows, before, judge)
    able = (np.linalg.norm(embeddings, axis=1) > 0) & (np.linalg.norm(preferences, axis=1) > 0)
    return embeddings.astype(np.float32), preferences, earlier, able
