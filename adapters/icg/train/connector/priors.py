"""Users' own vectors in training: a table of vectors and the map of `eyecatch embeddings fit` -> priors of training users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from icg.data.column_names import USER
from icg.data.numbers import EMBEDDING, vector_of
from icg.data.tables import Table
from icg.errors import IcgError, InputError
from icg.users.vector_map import VectorMap


def priors(table: Path, learned: Path, users: Mapping[str, int]) -> dict[int, np.ndarray]:
    """(64,) by number of those `users` (id -> number) who have a vector. A user's last row counts.

    Raises IcgError for a table or a map that cannot be read, for a row without a vector of the map's width, and if no user has a vector.
    """
    if not learned.is_file():
        raise IcgError(f"user_map={str(learned)!r}; allowed: a file of `eyecatch embeddings fit --out`")
    file, mapped = Table(table), VectorMap.from_bytes(learned.read_bytes())
    user, column = file.column(USER), file.column(EMBEDDING)
    vectors: dict[int, np.ndarray] = {}
    for row in file.rows():
        number = users.get(row.values.get(user, ""))
        if number is None:  # of another split, or without behaviour: nothing to draw them for
            continue
        try:
            vector = vector_of(row, [column])
        except InputError as error:
            raise IcgError(f"{table.name}, row {row.number}: {error}") from error
        if len(vector) != mapped.width or not np.isfinite(vector).all():
            what = f"{len(vector)} numbers" if len(vector) != mapped.width else "a number that is not finite"
            raise IcgError(
                f"{table.name}, row {row.number}: {column}={what}; allowed: {mapped.width} finite numbers, as the map has"
            )
        vectors[number] = vector
    if not vectors:
        raise IcgError(
            f"user_embeddings={table.name!r}: 0 of {len(users)} training users; allowed: vectors of users with events"
        )
    return dict(zip(vectors, mapped(np.stack(list(vectors.values()))), strict=True))
