"""The part of the CatalogStore port that keeps covers' vectors of a model outside Eyecatch. They are exported, and rank nothing."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from eyecatch.core.types import Vector


class CoverVectors(Protocol):
    """Vectors (W,) by cover id, one width for all. A vector goes with its cover, and stays when the cover is replaced."""

    async def put_vectors(self, vectors: Mapping[str, Vector]) -> None:
        """Store or replace vectors. Those of unknown covers are dropped."""

    async def vectors(self, cover_ids: Sequence[str]) -> Mapping[str, Vector]:
        """The vectors of those covers that have one."""
        ...

    async def drop_vectors(self) -> None:
        """Remove the vectors of all covers."""
