"""The CatalogStore port on SQLite: items and covers. Knows no image bytes, only blob URIs."""

# ruff: noqa: S608 (only constants of this package are formatted into statements)

import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from eyecatch.core.types import Cover, Item, Page
from eyecatch.stores import page_tokens as pages
from eyecatch.stores.sqlite import rows
from eyecatch.stores.sqlite.cache import EmbeddingCache
from eyecatch.stores.sqlite.connection import Database, Row

_ITEM = "SELECT id, title, category, updated_at, {pictures} FROM items".format(
    pictures="(SELECT json_group_array(uri) FROM (SELECT uri FROM pictures WHERE item_id = items.id ORDER BY place))"
)
_UPSERT_ITEM = """INSERT INTO items (id, title, category, updated_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE
    SET title = excluded.title, category = excluded.category, updated_at = excluded.updated_at"""
_UPSERT_COVER = f"INSERT OR REPLACE INTO covers ({rows.COVER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_POOL = f"SELECT {rows.COVER_COLUMNS} FROM covers WHERE item_id = ? ORDER BY created_at, id"
_MADE_FOR = f"""SELECT {rows.COVER_COLUMNS} FROM covers WHERE json_extract(provenance, '$.made_for') = ?
    AND json_extract(provenance, '$.made_for') IS NOT NULL"""
_USED = "SELECT EXISTS (SELECT 1 FROM covers WHERE uri = ?1) OR EXISTS (SELECT 1 FROM pictures WHERE uri = ?1)"
_SCAN = 1000


class SqliteCatalog:
    def __init__(self, database: Database, embeddings: EmbeddingCache) -> None:
        self._database = database
        self._embeddings = embeddings

    async def upsert_items(self, items: Sequence[Item], covers: Sequence[Cover] = ()) -> None:
        def run(connection: sqlite3.Connection) -> None:
            for item in items:
                connection.execute(_UPSERT_ITEM, (item.id, item.title, item.category, item.updated_at))
                connection.execute("DELETE FROM pictures WHERE item_id = ?", (item.id,))
                pictures = [(item.id, place, uri) for place, uri in enumerate(item.references)]
                connection.executemany("INSERT INTO pictures (item_id, place, uri) VALUES (?, ?, ?)", pictures)
            self._add(connection, covers)

        await self._database.write(run)

    async def item(self, item_id: str) -> Item | None:
        row = self._database.row(f"{_ITEM} WHERE id = ?", (item_id,))
        return _item(row) if row else None

    async def known_items(self, item_ids: Sequence[str]) -> set[str]:
        sql = "SELECT id FROM items WHERE id IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._database.read(sql, (json.dumps(item_ids),))}

    async def items(self, page_size: int, token: str = "", category: str = "") -> Page[Item]:
        after = pages.last_id(token)
        condition, values = ("AND category = ?", [category]) if category else ("", [])
        sql = f"{_ITEM} WHERE id > ? {condition} ORDER BY id LIMIT ?"
        items = [_item(row) for row in await self._database.scan(sql, [after, *values, page_size + 1])]
        page = tuple(items[:page_size])
        return Page(page, pages.token(page[-1].id) if len(items) > page_size and page else "")

    async def delete_item(self, item_id: str) -> Sequence[str] | None:
        def run(connection: sqlite3.Connection) -> list[str] | None:
            cover_ids = _column(connection, "SELECT id FROM covers WHERE item_id = ?", item_id)
            uris = _column(connection, "SELECT uri FROM covers WHERE item_id = ?", item_id)
            uris += _column(connection, "SELECT uri FROM pictures WHERE item_id = ?", item_id)
            if not connection.execute("DELETE FROM items WHERE id = ?", (item_id,)).rowcount:
                return None
            self._embeddings.drop(cover_ids, [item_id])
            return _unused(connection, uris)

        return await self._database.write(run)

    async def add_covers(self, covers: Sequence[Cover]) -> None:
        await self._database.write(lambda connection: self._add(connection, covers))

    async def remove_covers(self, cover_ids: Sequence[str]) -> Sequence[str]:
        """Remove covers; returns their blob URIs that no other cover or item uses."""

        def run(connection: sqlite3.Connection) -> list[str]:
            changed: set[str] = set()
            uris: list[str] = []
            for id in cover_ids:
                for item_id, uri in connection.execute(
                    "SELECT item_id, uri FROM covers WHERE id = ?", (id,)
                ).fetchall():
                    changed.add(item_id)
                    uris.append(uri)
            connection.executemany("DELETE FROM covers WHERE id = ?", [(id,) for id in cover_ids])
            self._embeddings.drop(cover_ids, changed)
            return _unused(connection, uris)

        return await self._database.write(run)

    async def cover(self, cover_id: str) -> Cover | None:
        row = self._database.row(f"SELECT {rows.COVER_COLUMNS} FROM covers WHERE id = ?", (cover_id,))
        return rows.cover(row) if row else None

    async def pools(self, item_ids: Sequence[str]) -> Mapping[str, Sequence[Cover]]:
        """Reads on the calling thread; core/recommending/pools.py caches pools."""
        pools: dict[str, Sequence[Cover]] = {}
        for item_id in item_ids:
            if self._database.row("SELECT 1 FROM items WHERE id = ?", (item_id,)):
                pools[item_id] = tuple(rows.cover(row) for row in self._database.read(_POOL, (item_id,)))
        return pools

    async def made_for(self, user: str) -> Sequence[Cover]:
        return [rows.cover(row) for row in await self._database.scan(_MADE_FOR, (user,))]

    async def all_covers(self) -> AsyncIterator[Cover]:
        after = ""
        while True:
            sql = f"SELECT {rows.COVER_COLUMNS} FROM covers WHERE id > ? ORDER BY id LIMIT {_SCAN}"
            page = await self._database.scan(sql, (after,))
            for row in page:
                yield rows.cover(row)
            if len(page) < _SCAN:
                return
            after = page[-1][0]

    async def counts(self) -> tuple[int, int]:
        ((items, covers),) = await self._database.scan(
            "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM covers)"
        )
        return items, covers

    def _add(self, connection: sqlite3.Connection, covers: Sequence[Cover]) -> None:
        """Insert or replace the covers of known items."""
        changed: set[str] = set()
        for cover in covers:
            if connection.execute("SELECT 1 FROM items WHERE id = ?", (cover.item_id,)).fetchone():
                changed.update(_column(connection, "SELECT item_id FROM covers WHERE id = ?", cover.id))
                connection.execute(_UPSERT_COVER, rows.cover_row(cover))
                changed.add(cover.item_id)
        self._embeddings.drop([cover.id for cover in covers], changed)


def _item(row: Row) -> Item:
    return Item(row[0], row[1], row[2], tuple(json.loads(row[4])), row[3])


def _column(connection: sqlite3.Connection, sql: str, parameter: str) -> list[str]:
    return [row[0] for row in connection.execute(sql, (parameter,)).fetchall()]


def _unused(connection: sqlite3.Connection, uris: Iterable[str]) -> list[str]:
    """The distinct URIs that no row uses."""
    return [uri for uri in dict.fromkeys(uris) if not connection.execute(_USED, (uri,)).fetchone()[0]]
