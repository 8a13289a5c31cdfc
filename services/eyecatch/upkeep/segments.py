"""What users of each taste cluster engaged with, gathered from a state: what segments are told of. Knows no model."""

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
class Gathered:
    """Of one cluster: engaged items, once for each engagement of the latest events, and some of the covers as images."""

    id: str
    embedding: Vector
    users: int = 0
    items: list[Item] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)


async def gather(stores: Stores, blobs: Blobs, clusters: TasteClusters, encoder: int) -> list[Gathered]:
    """Clusters in the order of their ids, those that nobody of the latest EVENTS events belongs to left out.

    Users encoded by another encoder are left out: clusters say nothing of them.
    """
    engaged: dict[str, list[Event]] = {}
    after = read = 0
    while read < EVENTS and (page := await stores.profiles.events(after, PAGE)):
        after, read = page[-1][0], read + len(page)
        for _, event in page:
            if event.action in ENGAGED:
                engaged.setdefault(event.user_id, []).append(event)
    found = {n: Gathered(str(n), clusters.centroids[n]) for n in np.flatnonzero(clusters.shares).tolist()}
    items: dict[str, Item | None] = {}
    covers: dict[int, dict[str, int]] = {}
    for user, events in engaged.items():
        profile = await stores.profiles.profile(user)
        if profile is None or profile.encoder != encoder or (cluster := clusters.of(profile.embedding)) not in found:
            continue
        found[cluster].users += 1
        for event in events:
            if event.item_id not in items:
                items[event.item_id] = await stores.catalog.item(event.item_id)
            if (item := items[event.item_id]) is not None:
                found[cluster].items.append(item)
                if event.cover_id:
                    often = covers.setdefault(cluster, {})
                    often[event.cover_id] = often.get(event.cover_id, 0) + 1
    for cluster, often in covers.items():
        for cover_id in sorted(often, key=lambda c: (-often[c], c))[:PICTURES]:
            if (cover := await stores.catalog.cover(cover_id)) is not None:
                found[cluster].images.append(await blobs.get(cover.uri))
    return [one for one in found.values() if one.items]
