"""Users' own vectors: fitting the map into the space, giving every user its prior, and removing the vectors. Knows ports, no store.

A fit holds at most MOST users in memory; a map reaches all.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from icg.errors import CheckpointError, IcgError
from icg.users.vector_fit import Figures, Halves, UserSplit, choose_trust, learn, measure
from icg.users.vector_map import VectorMap
from numpy.typing import NDArray

from eyecatch.core.behaviour.vectors import COVER_WIDTH, WIDTH, known_width, map_note
from eyecatch.core.errors import NotReady, StoreDamaged, Unavailable
from eyecatch.core.ports import Encoder, Notes, Stores, UserVectors
from eyecatch.core.types import EMBEDDING_DIM, Prior, Vector

MOST = 20_000
BATCH = 256
OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class FitReport:
    """Of all users that have a profile or a vector: users. with_vector: those with a vector; reached: those whom the map gave a prior.

    overlap: users with a vector and at least `least_events` engagements, of whom `fitted_on` were used; cold: users with a vector and
    fewer. adopted: whether the map replaced the one before.
    """

    users: int
    with_vector: int
    overlap: int
    cold: int
    least_events: int
    width: int
    strength: float
    trust: int
    fitted_on: int
    figures: Figures
    adopted: bool
    reached: int = 0

    def to_json(self) -> dict[str, object]:
        shares = {"share_with_vector": self.with_vector / self.users, "share_reached": self.reached / self.users}
        return asdict(self) | {name: round(share, 4) for name, share in shares.items()}


@dataclass
class _Overlap:
    """A uniform sample of at most MOST users with a vector and enough behaviour: keys, vectors (N, W), embeddings (N, D)."""

    rng: np.random.Generator
    keys: list[str] = field(default_factory=list)
    vectors: Vector = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    embeddings: Vector = field(default_factory=lambda: np.zeros((0, EMBEDDING_DIM), np.float32))
    order: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    total: int = 0
    with_vector: int = 0
    without_profile: int = 0

    def add(self, keys: list[str], vectors: Vector, embeddings: Vector) -> None:
        self.total += len(keys)
        self.keys += keys
        self.vectors = np.concatenate([self.vectors.reshape(-1, vectors.shape[1]), vectors])
        self.embeddings = np.concatenate([self.embeddings, embeddings])
        self.order = np.concatenate([self.order, self.rng.random(len(keys))])
        if len(self.keys) > MOST + MOST // 4:
            self.cut()

    def cut(self) -> None:
        first = np.sort(np.argsort(self.order)[:MOST])
        self.keys = [self.keys[n] for n in first.tolist()]
        self.vectors, self.embeddings, self.order = self.vectors[first], self.embeddings[first], self.order[first]


async def fit(
    stores: Stores,
    encoder: Encoder,
    least_events: int = 5,
    seed: int = 0,
    anyway: bool = False,
    on_progress: OnProgress = lambda done: None,
) -> FitReport:
    """Fit the map on users with both, measure it on held-out ones, store it and give every user with a vector a prior.

    A map whose gain cannot be told from chance is not stored, unless `anyway`. Raises NotReady for too few users; nothing changes then.
    """
    overlap = await _gather(stores.vectors, encoder, least_events, seed, on_progress)
    users = await stores.profiles.user_count() + overlap.without_profile
    try:
        split = UserSplit.draw(len(overlap.keys), seed)
    except IcgError as error:
        why = f"{overlap.with_vector} users have a vector; enough is {least_events} engagements with known covers"
        raise NotReady(f"nothing was fitted: {error} ({why})") from error
    choose, test = [
        await _halves(stores.vectors, [overlap.keys[n] for n in part.tolist()], encoder)
        for part in (split.choose, split.test)
    ]
    rows = overlap.vectors, overlap.embeddings, split
    trust = await asyncio.to_thread(choose_trust, *rows, choose, seed)
    figures = await asyncio.to_thread(measure, *rows, test, trust, seed)
    learned = await asyncio.to_thread(learn, *rows, True, encoder.version, trust)
    report = FitReport(
        users,
        overlap.with_vector,
        overlap.total,
        overlap.with_vector - overlap.total,
        least_events,
        learned.width,
        learned.strength,
        learned.trust,
        learned.users,
        figures,
        anyway or figures.told_from_chance,
    )
    return await _adopt(stores, encoder, learned, report, on_progress) if report.adopted else report


async def _gather(
    vectors: UserVectors, encoder: Encoder, least_events: int, seed: int, on_progress: OnProgress
) -> _Overlap:
    overlap = _Overlap(np.random.default_rng((seed, 33)))
    async for rows in vectors.scan(BATCH):
        did = await vectors.behaviour(rows.keys, encoder)
        good = np.flatnonzero((did.counts >= least_events) & did.embeddings.any(1))
        overlap.with_vector += len(rows.keys)
        overlap.without_profile += int((~did.stored).sum())
        overlap.add([rows.keys[n] for n in good.tolist()], rows.vectors[good], did.embeddings[good])
        on_progress(overlap.with_vector)
    overlap.cut()
    return overlap


async def _halves(vectors: UserVectors, keys: list[str], encoder: Encoder) -> Halves:
    pages = [
        await vectors.behaviour(keys[first : first + BATCH], encoder, halve=True)
        for first in range(0, len(keys), BATCH)
    ]
    events, counts = np.concatenate([p.embeddings for p in pages]), np.concatenate([p.counts for p in pages])
    return Halves(events, counts, [liked for page in pages for liked in page.liked])


async def _adopt(
    stores: Stores, encoder: Encoder, learned: VectorMap, report: FitReport, on_progress: OnProgress
) -> FitReport:
    name = map_note(encoder)
    before = await stores.notes.read(name)
    figures = json.dumps(replace(report, reached=report.with_vector).to_json())
    data = learned.to_bytes(figures)
    if not await stores.notes.replace(name, before, data):
        raise Unavailable("another process is fitting the map; try again")
    # A vector that comes from here on is mapped by the new map where it arrives.
    reached = 0
    async for rows in stores.vectors.scan(BATCH):
        priors = [Prior(row, learned.trust) for row in learned(rows.vectors)]
        reached += await stores.vectors.set_priors(rows, priors, encoder)
        on_progress(reached)
    return replace(report, reached=reached)


async def show(stores: Stores, encoder: Encoder) -> tuple[int, int, VectorMap | None]:
    """(number of vectors, their width, the map of this encoder or None). Raises StoreDamaged."""
    count = 0
    async for rows in stores.vectors.scan():
        count += len(rows.keys)
    data = await stores.notes.read(map_note(encoder))
    try:
        return count, await known_width(stores.notes), VectorMap.from_bytes(data) if data else None
    except CheckpointError as error:
        raise StoreDamaged(f"the stored {error}; fit it again") from error


async def drop(stores: Stores, encoder: Encoder, on_progress: OnProgress = lambda done: None) -> int:
    """Remove all vectors of users and covers, priors and the map, so that others may come; returns how many users had one.

    No process may store vectors meanwhile. Repeating an interrupted call does the rest.
    """
    await _clear(stores.notes, map_note(encoder))
    done = 0
    async for rows in stores.vectors.scan(BATCH):
        await stores.vectors.set_priors(rows, None, encoder)
        await stores.vectors.remove(rows.keys)
        done += len(rows.keys)
        on_progress(done)
    await stores.catalog.drop_vectors()
    for width in (WIDTH, COVER_WIDTH):
        await _clear(stores.notes, width)
    return done


async def _clear(notes: Notes, name: str) -> None:
    while (before := await notes.read(name)) and not await notes.replace(name, before, b""):
        pass
