"""Storing and finding segments: taste clusters in words, as one note of the state. Other modules create and read their contents."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eyecatch.core.drawing import MAX_AUDIENCE
from eyecatch.core.errors import InvalidInput, NotFound, StoreDamaged, Unavailable
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


def check_name(segments: Sequence[Mapping[str, Any]], id: str, name: str) -> None:
    """Raises InvalidInput if another segment than `id` has this name, or has it as its id: names and ids find segments."""
    for other in segments:
        if other["id"] != id and name.casefold() in (str(other["name"]).casefold(), other["id"]):
            raise InvalidInput.of("name", name, f"a name that no other segment has; segment {other['id']} has it")


def audience(segment: Mapping[str, Any]) -> str:
    """The segment in words for a drawing: its name and the looks that its users like. Not the things: they would be drawn."""
    looks = " ".join(segment.get("looks", ()))
    return (f"{segment['name']}, who like {looks}" if looks else str(segment["name"]))[:MAX_AUDIENCE]


async def audience_of(notes: Notes, clusters: TasteClusters, id: str) -> tuple[Vector, str]:
    """The embedding (D,) of a segment, and the segment in words for a drawing, by id or name. Raises NotFound, StoreDamaged."""
    segment = find(await load(notes, clusters), id)
    try:
        return np.array(segment["embedding"], np.float32), audience(segment)
    except (KeyError, ValueError, TypeError) as error:
        raise StoreDamaged(f"the note {NOTE} cannot be read: {error!r}") from error
