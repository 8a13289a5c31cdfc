"""The Notes port on SQLite."""

import sqlite3

from eyecatch.stores.sqlite.connection import Database


class SqliteNotes:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, name: str) -> bytes | None:
        row = self._database.row("SELECT value FROM notes WHERE name = ?", (name,))
        return bytes(row[0]) if row else None

    async def replace(self, name: str, before: bytes | None, after: bytes) -> bool:
        def run(connection: sqlite3.Connection) -> bool:
            if before is None:
                sql, values = "INSERT OR IGNORE INTO notes (value, name) VALUES (?, ?)", [after, name]
            else:
                sql, values = "UPDATE notes SET value = ? WHERE name = ? AND value = ?", [after, name, before]
            return connection.execute(sql, values).rowcount == 1

        return await self._database.write(run)
