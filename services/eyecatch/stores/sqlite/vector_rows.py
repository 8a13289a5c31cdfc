"""Rows of the table of users' own vectors. Knows no profile."""

import json
import sqlite3
from collections.abc import Sequence

from eyecatch.core.types import Prior
from eyecatch.stores import vector_codec as codec

_PRIORS = f"""SELECT user_id, substr(data, 1, {codec.HEAD_BYTES}) FROM vectors
    WHERE user_id IN (SELECT value FROM json_each(?))"""  # noqa: S608 (a constant)


def priors(connection: sqlite3.Connection, user_ids: Sequence[str], encoder: int) -> list[Prior | None]:
    """The prior of each user among the embeddings of this encoder version, or None."""
    if not connection.execute("SELECT EXISTS (SELECT 1 FROM vectors)").fetchone()[0]:
        return [None] * len(user_ids)
    heads = dict(connection.execute(_PRIORS, (json.dumps(user_ids),)).fetchall())
    return [codec.prior(heads.get(user_id), encoder) for user_id in user_ids]
