"""Items and covers that users of each taste cluster engaged with: the input of segment descriptions. Knows no model."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from eyecatch.core.ports import Blobs, Stores
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.core.types import Action, Event, Item, Vector

ENGAGED = frozenset({Action.CLICK, Action.LIKE, Action.PURCHASE, Action.DWELL})
EVENTS = 200_000
PAGE = 5000
PICTURES = 40


@dataclass
class ClusterBehaviour:
    """Engagements of the users of one cluster. items: one entry for each engagement. images: of the covers with most engagements."""

    id: str
    embedding: Vector
    users: int = 0
    items: list[Item] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    covers: Counter[str] = field(default_factory=Counter)


async def gather(stores: Stores, blobs: Blobs, clusters: TasteClusters, encoder: int) -> list[ClusterBehaviour]:
    """The behaviour of each cluster in the first EVENTS events of the log, without clusters that have none.

    Users of another encoder are left out, because the clusters do not apply to their embeddings.
    """
    clusters_by_id = {
        n: ClusterBehaviour(str(n), clusters.centroids[n]) for n in np.flatnonzero(clusters.shares).tolist()
    }
    items: dict[str, Item | None] = {}
    for user, events in (await _engagements(stores)).items():
        profile = await stores.profiles.profile(user)
        if profile is None or profile.encoder != encoder:
            continue
        cluster = clusters_by_id.get(clusters.of(profile.embedding))
        if cluster is not None:
            cluster.users += 1
            await _add(cluster, events, stores, items)
    for cluster in clusters_by_id.values():
        for cover_id, _ in sorted(cluster.covers.items(), key=lambda pair: (-pair[1], pair[0]))[:PICTURES]:
            if (cover := await stores.catalog.cover(cover_id)) is not None:
                cluster.images.append(await blobs.get(cover.uri))
    return [cluster for cluster in clusters_by_id.values() if cluster.items]


async def _engagements(stores: Stores) -> dict[str, list[Event]]:
    """Engagements by user."""
    engagements: dict[str, list[Event]] = {}
    after = read = 0
    while read < EVENTS and (page := await stores.profiles.events(after, PAGE)):
        after, read = page[-1][0], read + len(page)
        for _, event in page:
            if event.action in ENGAGED:
                engagements.setdefault(event.user_id, []).append(event)
    return engagements


async def _add(cluster: ClusterBehaviour, events: list[Event], stores: Stores, items: dict[str, Item | None]) -> None:
    """Count a user's events; `items` caches the catalogue."""
    for event in events:
        if event.item_id not in items:
            items[event.item_id] = await stores.catalog.item(event.item_id)
        if (item := items[event.item_id]) is not None:
            cluster.items.append(item)
            if event.cover_id:
                cluster.covers[event.cover_id] += 1
