"""Taking in users' own vectors: all of one width, each mapped among the user embeddings as it arrives. Knows no wire and no fitting.

The map is a note of the state, one for each encoder version; every process reads it there, so that a new one counts at once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import MAX_VECTOR
from eyecatch.core.ports import Encoder, Notes, UserVectors
from eyecatch.core.types import Prior, UserVector, Vector

WIDTH, COVER_WIDTH = "user-vector-width", "cover-vector-width"

Project = Callable[[bytes, Vector], Sequence[Prior] | None]
"""(a stored map, vectors (N, W)) -> their priors, or None for a map of another width. Raises StoreDamaged."""


def map_note(encoder: Encoder) -> str:
    """The name of the note that holds the map to the embeddings of this encoder; b"" after it was dropped."""
    return f"user-vector-map-{encoder.version:04x}"


async def known_width(notes: Notes, name: str = WIDTH) -> int:
    """The width of all stored vectors, 0 before the first. `name`: of the note, WIDTH or COVER_WIDTH."""
    return int(await notes.read(name) or 0)


async def common_width(notes: Notes, name: str, vectors: Iterable[Vector]) -> int:
    """The width that Check.vector must allow: of what is stored, else the commonest allowed one of these vectors, 0 without one."""
    widths = Counter(len(values) for values in vectors if 1 <= len(values) <= MAX_VECTOR)
    return await known_width(notes, name) or next((width for width, _ in widths.most_common(1)), 0)


async def claim_width(notes: Notes, name: str, width: int) -> None:
    """Make it the width of all vectors to come. Raises InvalidInput if another process stored vectors of another width meanwhile."""
    while True:
        before = await notes.read(name)
        if before and int(before) != width:
            raise InvalidInput.of("values", f"{width} numbers", f"{int(before)}, as in the other vectors")
        if before or await notes.replace(name, before, str(width).encode()):
            return


class VectorIntake:
    def __init__(self, vectors: UserVectors, notes: Notes, encoder: Encoder, project: Project) -> None:
        self._vectors, self._notes, self._encoder, self._project = vectors, notes, encoder, project

    async def width(self, vectors: Sequence[UserVector]) -> int:
        """The width that Check.vector must allow for these."""
        return await common_width(self._notes, WIDTH, [vector.values for vector in vectors])

    async def put(self, vectors: Sequence[UserVector]) -> int:
        """Store vectors that Check.vector allows, with their priors; returns how many, without those of forgotten users.

        Raises InvalidInput if another process stored vectors of another width meanwhile; then nothing is stored.
        """
        if not vectors:
            return 0
        rows = np.stack([np.asarray(vector.values, np.float32) for vector in vectors])
        await claim_width(self._notes, WIDTH, rows.shape[1])
        data = await self._notes.read(map_note(self._encoder))
        priors = await asyncio.to_thread(self._project, data, rows) if data else None
        return await self._vectors.put(vectors, priors, self._encoder)
