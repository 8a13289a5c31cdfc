"""What alignment draws while it trains: items, and users as the services embed them. Knows no reward.

From a catalogue's own tables, or from the starter's art with SIMULATED users.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.data.art import CATEGORIES, STYLES, Subject, on_white
from icg.data.bank import build
from icg.data.behaviour import IMPRESSION, population, simulate
from icg.data.catalogue import TRAIN, Catalogue, Example, RowReport, Splits
from icg.data.precompute import Looks, prepare, show
from icg.errors import IcgError
from icg.evaluate.preference import mean_embeddings, served_embeddings
from icg.models.joint import JointEmbedding
from icg.starter import Starter
from icg.train.connector.priors import priors
from icg.train.starter.tokenizer import variation
from icg.users.examples import examples

PICTURED = 0.5
"""Share of briefs that show the item besides its title."""
LEAST_USERS, LEAST_ITEMS = 8, 10
UNSEEN = 0.1
"""Share of items, and of users, that alignment is judged on."""
TITLES = 100
KNOWN = (0.3, 1.0)
"""Share of a user's events that is known, at random."""

Pictures = tuple[Image.Image, ...]
Items = Callable[[np.random.Generator], tuple[str, Pictures]]
"""Draws an item: its title and its pictures."""


@dataclass(frozen=True, eq=False)
class Material:
    """Items to train on and `unseen` ones, the `titles` of the former, and users (U, D), of which the first `held_out` judge.

    recognised: share of the catalogue's own covers whose title relevance finds among the first twentieth; None where it was not measured.
    """

    trained: Items
    unseen: Items
    titles: list[str]
    users: np.ndarray
    held_out: int
    recognised: float | None = None


@dataclass(frozen=True)
class Sizes:
    """Covers for simulated behaviour, users, held-out users among them, watched covers."""

    covers: int
    users: int
    held_out: int
    watched: int


class BriefSource:
    """Briefs of items for users. knobs: fields of every brief."""

    def __init__(self, items: Items, users: np.ndarray, each: int, **knobs: Any) -> None:
        self.items, self.users, self.each, self.knobs = items, users, each, knobs

    def __call__(self, rng: np.random.Generator, count: int) -> list[Brief]:
        """`count` briefs, for `each` consecutive users of one item."""
        out = []
        for _ in range(count // self.each):
            title, pictures = self.items(rng)
            seed = int(rng.integers(1 << 31))  # one noise for all users of an item: only their tastes differ
            for user in rng.choice(len(self.users), self.each, replace=False):
                out.append(Brief(title, pictures, self.users[user], seed=seed, **self.knobs))
        return out


def simulated(parts: Starter, subjects: list[Subject], sizes: Sizes, seed: int) -> Material:
    """The starter's art, and users after histories of SIMULATED behaviour of many lengths."""
    training, unseen = ([s for s in subjects if s.held_out == held] for held in (False, True))
    rng = np.random.default_rng((seed, 5))
    bank = build(training, sizes.covers, seed + 11)
    covers = parts.embedding.covers([Image.fromarray(i) for i in bank.images])
    themes = np.array([CATEGORIES.index(s.category) for s in training])
    log, _ = simulate(population(sizes.users, rng), bank.look, themes[bank.subject], 30, rng)
    histories = examples(log, rng)
    have = np.diff(histories.start)[: sizes.users]
    known = (have * rng.uniform(*KNOWN, len(have))).astype(int)
    users = mean_embeddings(histories, np.arange(len(have)), known, covers)
    users = users[np.linalg.norm(users, axis=1) > 0]
    return Material(
        _subjects(training), _subjects(unseen or training), [s.title for s in training], users, sizes.held_out
    )


def of_catalogue(root: Path, data: Path, out: Path, seed: int, vectors: tuple[Path, Path] | None = None) -> Material:
    """A catalogue's own items, and its users as the services embed them by users/ of the checkpoint `root`, or as means without it.

    data: a folder of icg.data.catalogue with events. vectors: a table of users' own vectors and the map of `eyecatch embeddings fit`:
    users who have one are there a second time, at their priors, as before their first event. Writes out/left_out.jsonl. Raises IcgError
    for a folder without events, with fewer than LEAST_ITEMS items, or with fewer than LEAST_USERS users who did something.
    """
    catalogue, report = Catalogue.open(data, Splits(UNSEEN, 0.0)), RowReport()
    if catalogue.events is None:
        raise IcgError(f"data={str(data)!r}: no table of events; allowed: events.csv, .jsonl or .parquet beside items")
    looks = Looks(out / "looks", root)
    prepared = prepare(catalogue.examples(report), (looks,), report)
    ids: dict[str, int] = {}
    log = catalogue.log({p.example.cover: (n, p.example.item) for n, p in enumerate(prepared)}, report, "", ids)
    report.write(out / "left_out.jsonl")
    by_split: dict[bool, list[Example]] = {True: [], False: []}
    for p in prepared:
        by_split[p.example.split == TRAIN].append(p.example)
    items = len({example.item for example in by_split[True]})
    log = log.take(log.action != IMPRESSION)
    have = np.bincount(log.user) if len(log) else np.zeros(0, int)
    people = int((have > 0).sum())
    if items < LEAST_ITEMS or people < LEAST_USERS:
        raise IcgError(
            f"data={str(data)!r}: {items} items to train on, {people} users with events ({report}); allowed: "
            f"{LEAST_ITEMS} items and {LEAST_USERS} users, or more"
        )
    rng = np.random.default_rng((seed, 5))
    known = np.ceil(have * rng.uniform(*KNOWN, len(have))).astype(int)
    covers = looks.rows(prepared)
    users = served_embeddings(root, log, known, covers, rng)
    users = users[(have > 0) & (np.linalg.norm(users, axis=1) > 0)]
    if vectors is not None:
        users = np.concatenate([users, *(row[None] for row in priors(*vectors, ids).values())])
    users = rng.permutation(users).astype(np.float32)
    print(f"{report}; {items} items to train on, {len(users)} users")
    titles = list(dict.fromkeys(example.title for example in by_split[True]))
    held_out = max(2, round(UNSEEN * len(users)))
    trained, unseen = (_examples(by_split[split] or by_split[True]) for split in (True, False))
    return Material(trained, unseen, titles, users, held_out, _recognised(root, by_split[True], rng))


def _recognised(root: Path, of: list[Example], rng: np.random.Generator) -> float | None:
    """See Material; of TITLES examples of different titles at most, None for less than 20 that can be shown."""
    one = {e.title: e for e in of}
    picked = [list(one.values())[n] for n in rng.permutation(len(one))[:TITLES]]
    shown = [(e.title, pictures[0]) for e in picked if (pictures := show(e))]
    if len(shown) < 20:
        return None
    titles, covers = zip(*shown, strict=True)
    embedding = JointEmbedding.from_pretrained(root)
    scores = embedding.images(list(covers)) @ embedding.texts(list(titles)).T
    margin = scores - np.diag(scores)[:, None]
    rank = (margin > 0).sum(1) + ((margin == 0).sum(1) - 1) / 2  # titles without a known word are all alike
    return float((rank < len(titles) / 20).mean())


def _subjects(subjects: list[Subject]) -> Items:
    def draw(rng: np.random.Generator) -> tuple[str, Pictures]:
        subject = subjects[int(rng.integers(len(subjects)))]
        title = variation(subject.title, int(rng.integers(0, 10)))
        sprite = subject.sprites[STYLES[int(rng.integers(len(STYLES)))]]
        return title, (on_white(sprite),) if rng.random() < PICTURED else ()

    return draw


def _examples(of: list[Example]) -> Items:
    def draw(rng: np.random.Generator) -> tuple[str, Pictures]:
        example = of[int(rng.integers(len(of)))]
        return example.title, show(example) if rng.random() < PICTURED else ()

    return draw
