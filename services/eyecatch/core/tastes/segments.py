"""Segments as a state keeps them: taste clusters in words, in its notes. What they say is made and read elsewhere."""

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


async def embedding_of(notes: Notes, clusters: TasteClusters, id: str) -> Vector:
    """(D,) that stands for a segment, by id or name. Raises NotFound, StoreDamaged."""
    try:
        return np.array(named(await load(notes, clusters), id)["embedding"], np.float32)
    except (KeyError, ValueError, TypeError) as error:
        raise StoreDamaged(f"the note {NOTE} cannot be read: {error!r}") from error
