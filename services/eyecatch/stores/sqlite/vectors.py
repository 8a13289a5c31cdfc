"""The UserVectors port on SQLite. A vector, its prior and the user's embedding change in one transaction."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence

from eyecatch.core.ports import Encoder
from eyecatch.core.types import Behaviour, Prior, UserVector, UserVectorRows
from eyecatch.stores import vector_codec as codec
from eyecatch.stores.sqlite.connection import Database
from eyecatch.stores.sqlite.profiles import SqliteProfiles
from eyecatch.stores.sqlite.tombstones import forgotten

_SET_PRIOR = f"UPDATE vectors SET data = ? WHERE user_id = ? AND substr(data, {codec.HEAD_BYTES + 1}) = ?"  # noqa: S608


class SqliteVectors:
    def __init__(self, database: Database, profiles: SqliteProfiles) -> None:
        self._database, self._profiles = database, profiles

    async def put(self, vectors: Sequence[UserVector], priors: Sequence[Prior] | None, encoder: Encoder) -> int:
        def run(connection: sqlite3.Connection) -> int:
            gone = forgotten(connection, {vector.user_id for vector in vectors})
            after = {
                v.user_id: codec.encode(v.values, None if priors is None else priors[n], encoder.version)
                for n, v in enumerate(vectors)
                if v.user_id not in gone
            }
            connection.executemany("INSERT OR REPLACE INTO vectors (user_id, data) VALUES (?, ?)", after.items())
            if priors is not None:
                self._profiles.encode_again(connection, list(after), encoder)
            return len(after)

        return await asyncio.shield(self._profiles.write({vector.user_id for vector in vectors}, run))

    async def scan(self, batch: int = 1000) -> AsyncIterator[UserVectorRows]:
        last = ""
        sql = "SELECT user_id, data FROM vectors WHERE user_id > ? ORDER BY user_id LIMIT ?"
        while page := await self._database.scan(sql, (last, batch)):
            last = page[-1][0]
            yield codec.rows(dict(page))

    async def behaviour(self, keys: Sequence[str], encoder: Encoder, halve: bool = False) -> Behaviour:
        return await self._profiles.behaviour(keys, encoder, halve)

    async def set_priors(self, rows: UserVectorRows, priors: Sequence[Prior] | None, encoder: Encoder) -> int:
        heads = [codec.head(None if priors is None else priors[n], encoder.version) for n in range(len(rows.keys))]

        def run(connection: sqlite3.Connection) -> int:
            changed = []
            for key, head, values in zip(rows.keys, heads, rows.vectors, strict=True):
                raw = codec.raw(values)
                if connection.execute(_SET_PRIOR, (head + raw, key, raw)).rowcount:
                    changed.append(key)
            self._profiles.encode_again(connection, changed, encoder)
            return len(changed)

        return await asyncio.shield(self._profiles.write(set(rows.keys), run))

    async def remove(self, keys: Sequence[str]) -> None:
        def run(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM vectors WHERE user_id = ?", [(key,) for key in keys])

        await self._database.write(run)
