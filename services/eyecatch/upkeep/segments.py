"""What users of each taste cluster engaged with, and the segments told of it: gathered from a state, kept in its notes. Knows no model."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eyecatch.core.clusters import TasteClusters
from eyecatch.core.errors import NotFound, StoreDamaged, Unavailable
from eyecatch.core.ports import Blobs, Notes, Stores
from eyecatch.core.types import Action, Event, Item, Vector

NOTE = "segments"
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


async def gather(
    stores: Stores, blobs: Blobs, clusters: TasteClusters, encoder: int, tell: Callable[[int], None] = lambda done: None
) -> list[Gathered]:
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
        tell(read)
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


async def load(notes: Notes, clusters: TasteClusters) -> list[dict[str, Any]]:
    """The segments kept last, [] where none are or the clusters have other ids since. Raises StoreDamaged."""
    data = await notes.read(NOTE)
    if data is None:
        return []
    try:
        kept = json.loads(data)
        return list(kept["segments"]) if kept["clusters"] == clusters.name else []
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(f"the note {NOTE} cannot be read: {error!r}") from error


async def keep(notes: Notes, clusters: TasteClusters, segments: Sequence[Mapping[str, Any]]) -> None:
    """Write them in place of those kept before. Raises Unavailable when somebody else writes at the same time."""
    data = json.dumps({"clusters": clusters.name, "segments": list(segments)}).encode()
    if not await notes.replace(NOTE, await notes.read(NOTE), data):
        raise Unavailable("somebody else is changing the segments; try again")


def named(segments: Sequence[Mapping[str, Any]], id: str) -> Mapping[str, Any]:
    """The segment of an id, or of a name. Raises NotFound."""
    for segment in segments:
        if id == segment["id"] or id.casefold() == str(segment["name"]).casefold():
            return segment
    raise NotFound("segment", id)
