"""Recall@K on stored behaviour: a user's last engagements are hidden, and a profile is computed from the rest.

Three controls are measured too: popularity (of events that are not hidden), random, and the profiles of other users (shuffled). The
gain of personalisation is the distance to the shuffled ones. It measures what the events record: ratings of films, for example, are
not clicks on covers. Knows the ports, no store and no model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.errors import InvalidInput
from eyecatch.core.ports import CatalogStore, Encoder, ProfileStore
from eyecatch.core.types import EMBEDDING_DIM, RECENT_EVENTS, Action, Event, Origin, Vector

MEAN = MeanEncoder()
KS = (1, 5, 10, 20, 50, 100)
ENGAGED = frozenset({Action.CLICK, Action.LIKE, Action.PURCHASE, Action.DWELL})
# Users encoded in one call: enough to use all cores, few enough for the memory.
USER_BATCH = 1024
NOTE = "Held-out events among unseen items: this measures what the events record, which need not be clicks on covers."

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """The mean over users and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Recall:
    """Recall@K by ranking ("profile", "popularity", "random", "shuffled") and K."""

    users: int
    items: int
    held_out: int
    seed: int
    recall: Mapping[str, Mapping[int, Interval]]
    note: str = NOTE

    def as_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Split:
    """One user. recent: the latest events that are not hidden, newest first. known, hidden: item numbers; known items are not ranked."""

    recent: Sequence[Event]
    known: Ints
    hidden: Ints


@dataclass(frozen=True, eq=False)
class Covers:
    """Catalogue covers. ids: item id -> number. rows: embeddings (N, D). item_of: item numbers (N,). by_key: as for an Encoder."""

    ids: dict[str, int]
    rows: Vector
    item_of: Ints
    by_key: dict[str, Vector]


async def recall(
    catalog: CatalogStore,
    profiles: ProfileStore,
    *,
    ks: Sequence[int] = KS,
    leave_out: int = 5,
    min_events: int = 10,
    seed: int = 0,
    encoder: Encoder = MEAN,
) -> Recall:
    """Recall@K over users with at least `min_events` engaged items, the last `leave_out` of which are hidden.

    Raises InvalidInput if there is nothing to measure. Memory is proportional to events and covers.
    """
    if not ks or min(ks) < 1 or leave_out < 1 or min_events <= leave_out:
        raise InvalidInput.of("recall", (tuple(ks), leave_out, min_events), "ks >= 1 and 1 <= leave_out < min_events")
    covers = await _covers(catalog)
    by_user: dict[str, list[tuple[float, int, Event]]] = {}
    after = 0
    while events := await profiles.events(after, 10_000):
        for after, event in events:
            by_user.setdefault(event.user_id, []).append((event.time, after, event))
    popular = np.zeros(len(covers.ids), np.int64)
    splits = []
    for user_id in sorted(by_user):
        history = [event for _, _, event in sorted(by_user[user_id], key=lambda entry: entry[:2])]
        split = _split(history, covers, leave_out, min_events, popular)
        if split is not None:
            splits.append(split)
    if len(splits) < 2:
        raise InvalidInput.of("users", len(splits), f"at least 2 with {min_events} engaged items")
    parts = [splits[first : first + USER_BATCH] for first in range(0, len(splits), USER_BATCH)]
    users = np.concatenate([encoder([split.recent for split in part], covers.by_key) for part in parts])
    return _measure(splits, users, covers, popular, sorted(set(ks)), seed)


async def _covers(catalog: CatalogStore) -> Covers:
    ids: dict[str, int] = {}
    rows, item_of, by_key = [], [], {}
    async for cover in catalog.all_covers():
        by_key[cover.id] = cover.embedding
        if cover.provenance.origin is Origin.CATALOGUE:
            item_of.append(ids.setdefault(cover.item_id, len(ids)))
            rows.append(cover.embedding)
    matrix = np.stack(rows) if rows else np.empty((0, EMBEDDING_DIM), np.float32)
    numbers = np.asarray(item_of, np.int64)
    means = np.zeros((len(ids), EMBEDDING_DIM), np.float32)
    np.add.at(means, numbers, matrix)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    by_key |= {Event("", "", id, Action.CLICK, 0.0).cover_key: means[number] for id, number in ids.items()}
    return Covers(ids, matrix, numbers, by_key)


def _split(history: Sequence[Event], covers: Covers, leave_out: int, min_events: int, popular: Ints) -> Split | None:
    """Split `history` (oldest first). All events of hidden items are removed from the known ones."""
    known = [event for event in history if event.item_id in covers.ids]
    last_engaged = {event.item_id: n for n, event in enumerate(known) if event.action in ENGAGED}
    hidden: set[str] = set()
    if len(last_engaged) >= min_events:
        hidden = set(sorted(last_engaged, key=last_engaged.__getitem__)[-leave_out:])
    past = [event for event in known if event.item_id not in hidden]
    for event in past:
        popular[covers.ids[event.item_id]] += event.action in ENGAGED
    if not hidden:
        return None
    recent = [event for event in past if event.action is not Action.IMPRESSION][-RECENT_EVENTS:][::-1]
    ahead = (event for event in known if event.item_id in hidden)
    return Split(recent, _numbers(covers, past), _numbers(covers, ahead))


def _numbers(covers: Covers, events: Iterable[Event]) -> Ints:
    return np.unique(np.fromiter((covers.ids[e.item_id] for e in events), np.int64))


def _measure(
    splits: Sequence[Split], queries: Vector, covers: Covers, popular: Ints, ks: Sequence[int], seed: int
) -> Recall:
    rng = np.random.default_rng(seed)
    # Each user gets the profile of the next one in a random circle, so that none gets the own profile.
    circle = rng.permutation(len(splits))
    others = np.empty_like(circle)
    others[circle] = np.roll(circle, 1)
    depth = ks[-1] + max(len(split.known) for split in splits)
    popularity = np.argsort(-(popular + rng.random(len(popular))), kind="stable")
    rankings: dict[str, Iterable[Ints]] = {
        "profile": _nearest(queries, covers, depth),
        "popularity": (popularity for _ in splits),
        "random": (rng.permutation(len(popular)) for _ in splits),
        "shuffled": _nearest(queries[others], covers, depth),
    }
    result = {}
    for name, ranking in rankings.items():
        hits = np.stack([_hits(order, split, ks) for order, split in zip(ranking, splits, strict=True)])  # (U, K)
        result[name] = {k: _interval(hits[:, n], rng) for n, k in enumerate(ks)}
    return Recall(len(splits), len(popular), sum(len(s.hidden) for s in splits), seed, result)


def _nearest(queries: Vector, covers: Covers, depth: int) -> Iterable[Ints]:
    """For each query (U, D) the items by their best cover, best first: at least `depth` items, or all."""
    index = faiss.IndexFlatIP(covers.rows.shape[1])
    index.add(covers.rows)
    # An item has at most `widest` covers, so `depth * widest` rows contain at least `depth` items.
    widest = int(np.bincount(covers.item_of).max())
    rows = min(depth * widest, len(covers.rows))
    for start in range(0, len(queries), 256):
        _, nearest = index.search(queries[start : start + 256], rows)
        for row in nearest:
            items = covers.item_of[row]
            _, first = np.unique(items, return_index=True)
            yield items[np.sort(first)]


def _hits(order: Ints, split: Split, ks: Sequence[int]) -> NDArray[np.float64]:
    """Recall at each K of one user's ranking without known items: hidden items among the first K, over all hidden items."""
    ranked = order[~np.isin(order, split.known)][: ks[-1]]
    hits = np.cumsum(np.isin(ranked, split.hidden))
    at = [hits[min(k, len(hits)) - 1] if len(hits) else 0 for k in ks]
    return np.array(at, np.float64) / len(split.hidden)


def _interval(values: NDArray[np.float64], rng: np.random.Generator, rounds: int = 1000) -> Interval:
    means = values[rng.integers(0, len(values), (rounds, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
