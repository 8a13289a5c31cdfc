"""Storing and finding segments: taste clusters in words, as one note of the state. Other modules create and read their contents."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eyecatch.core.errors import NotFound, StoreDamaged, Unavailable
from eyecatch.core.ports import Notes
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.core.types import Vector

NOTE = "segments"


async def load(notes: Notes, clusters: TasteClusters) -> list[dict[str, Any]]:
    """The stored segments; [] if there are none, or if the clusters have got other ids since. Raises StoreDamaged."""
    data = await notes.read(NOTE)
    if data is None:
        return []
    try:
        note = json.loads(data)
        return list(note["segments"]) if note["clusters"] == clusters.name else []
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(f"the note {NOTE} cannot be read: {error!r}") from error


async def save(notes: Notes, clusters: TasteClusters, segments: Sequence[Mapping[str, Any]]) -> None:
    """Replace the stored segments. Raises Unavailable if another process writes at the same time."""
    data = json.dumps({"clusters": clusters.name, "segments": list(segments)}).encode()
    if not await notes.replace(NOTE, await notes.read(NOTE), data):
        raise Unavailable("another process is changing the segments; try again")


def find(segments: Sequence[Mapping[str, Any]], id: str) -> Mapping[str, Any]:
    """The segment with this id or name. Raises NotFound."""
    for segment in segments:
        if id == segment["id"] or id.casefold() == str(segment["name"]).casefold():
            return segment
    raise NotFound("segment", id)


async def embedding_of(notes: Notes, clusters: TasteClusters, id: str) -> Vector:
    """The embedding (D,) of a segment, by id or name. Raises NotFound, StoreDamaged."""
    try:
        return np.array(find(await load(notes, clusters), id)["embedding"], np.float32)
    except (KeyError, ValueError, TypeError) as error:
        raise StoreDamaged(f"the note {NOTE} cannot be read: {error!r}") from error
