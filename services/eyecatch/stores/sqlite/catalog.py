"""The CatalogStore port on SQLite: items and covers. Knows no image bytes, only blob URIs."""

# ruff: noqa: S608 (only constants of this package are formatted into statements)

import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

from eyecatch.core.types import AuditEntry, Cover, Item, Page, StandingChange, Trust, Vector
from eyecatch.stores import page_tokens as pages
from eyecatch.stores.json_codec import audit_entry, audit_text
from eyecatch.stores.sqlite import rows
from eyecatch.stores.sqlite.cache import EmbeddingCache
from eyecatch.stores.sqlite.connection import Database, Row
from eyecatch.stores.vector_codec import raw, unpacked

_ITEM = "SELECT id, title, category, updated_at, {pictures} FROM items".format(
    pictures="(SELECT json_group_array(uri) FROM (SELECT uri FROM pictures WHERE item_id = items.id ORDER BY place))"
)
_UPSERT_ITEM = """INSERT INTO items (id, title, category, updated_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE
    SET title = excluded.title, category = excluded.category, updated_at = excluded.updated_at"""
_UPSERT_COVER = f"INSERT OR REPLACE INTO covers ({rows.COVER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_POOL = f"SELECT {rows.COVER_COLUMNS} FROM covers WHERE item_id = ? ORDER BY created_at, id"
_COVER = f"SELECT {rows.COVER_COLUMNS} FROM covers WHERE id = ?"
_MADE_FOR = f"""SELECT {rows.COVER_COLUMNS} FROM covers WHERE json_extract(provenance, '$.made_for') = ?
    AND json_extract(provenance, '$.made_for') IS NOT NULL"""
_PICTURES = "SELECT uri FROM pictures WHERE item_id = ?"
_USED = "SELECT EXISTS (SELECT 1 FROM covers WHERE uri = ?1) OR EXISTS (SELECT 1 FROM pictures WHERE uri = ?1)"
_SCAN = 1000


class SqliteCatalog:
    def __init__(self, database: Database, embeddings: EmbeddingCache) -> None:
        self._database = database
        self._embeddings = embeddings

    async def upsert_items(self, items: Sequence[Item], covers: Sequence[Cover] = ()) -> Sequence[str]:
        def run(connection: sqlite3.Connection) -> list[str]:
            old: list[str] = []
            for item in items:
                old += _column(connection, _PICTURES, item.id)
                connection.execute(_UPSERT_ITEM, (item.id, item.title, item.category, item.updated_at))
                connection.execute("DELETE FROM pictures WHERE item_id = ?", (item.id,))
                pictures = [(item.id, place, uri) for place, uri in enumerate(item.references)]
                connection.executemany("INSERT INTO pictures (item_id, place, uri) VALUES (?, ?, ?)", pictures)
            self._add(connection, covers)
            return _unused(connection, old)

        return await self._database.write(run)

    async def item(self, item_id: str) -> Item | None:
        row = self._database.row(f"{_ITEM} WHERE id = ?", (item_id,))
        return _item(row) if row else None

    async def known_items(self, item_ids: Sequence[str]) -> set[str]:
        sql = "SELECT id FROM items WHERE id IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._database.read(sql, (json.dumps(item_ids),))}

    async def items_of(self, cover_ids: Sequence[str]) -> Mapping[str, str]:
        sql = "SELECT id, item_id FROM covers WHERE id IN (SELECT value FROM json_each(?))"
        return dict(self._database.read(sql, (json.dumps(cover_ids),)))

    async def items(self, page_size: int, token: str = "", category: str = "") -> Page[Item]:
        after = pages.last_id(token)
        condition, values = ("AND category = ?", [category]) if category else ("", [])
        sql = f"{_ITEM} WHERE id > ? {condition} ORDER BY id LIMIT ?"
        items = [_item(row) for row in await self._database.scan(sql, [after, *values, page_size + 1])]
        return pages.page(tuple(items), page_size, lambda item: item.id)

    async def delete_item(self, item_id: str) -> Sequence[str] | None:
        def run(connection: sqlite3.Connection) -> list[str] | None:
            cover_ids = _column(connection, "SELECT id FROM covers WHERE item_id = ?", item_id)
            uris = _column(connection, "SELECT uri FROM covers WHERE item_id = ?", item_id)
            uris += _column(connection, _PICTURES, item_id)
            if not connection.execute("DELETE FROM items WHERE id = ?", (item_id,)).rowcount:
                return None
            _drop_vectors(connection, cover_ids)
            self._embeddings.drop(cover_ids, [item_id])
            return _unused(connection, uris)

        return await self._database.write(run)

    async def add_covers(self, covers: Sequence[Cover]) -> None:
        await self._database.write(lambda connection: self._add(connection, covers))

    async def remove_covers(self, cover_ids: Sequence[str], audit: Sequence[AuditEntry] = ()) -> Sequence[str]:

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
            _drop_vectors(connection, cover_ids)
            self._embeddings.drop(cover_ids, changed)
            _record(connection, audit)
            return _unused(connection, uris)

        return await self._database.write(run)

    async def change_standings(self, changes: Sequence[StandingChange]) -> Sequence[str]:
        def run(connection: sqlite3.Connection) -> list[str]:
            changed = []
            for change in changes:
                id = change.entry.cover_id
                row = connection.execute(_COVER, (id,)).fetchone()
                if row and (cover := rows.cover(row)).standing == change.before:
                    columns = rows.standing_columns(replace(cover, ruling=change.after))
                    connection.execute("UPDATE covers SET trust = ?, standing = ? WHERE id = ?", (*columns, id))
                    _record(connection, [change.entry])
                    changed.append(id)
            return changed

        return await self._database.write(run)

    async def waiting_covers(self, trust: Trust, page_size: int, token: str = "") -> Page[Cover]:
        sql = f"SELECT {rows.COVER_COLUMNS} FROM covers WHERE trust = ? AND trust < 3 AND id > ? ORDER BY id LIMIT ?"
        result = await self._database.scan(sql, (int(trust), pages.last_id(token), page_size + 1))
        covers = tuple(rows.cover(row) for row in result)
        return pages.page(covers, page_size, lambda cover: cover.id)

    async def audit(self, page_size: int, token: str = "") -> Page[AuditEntry]:
        last = pages.last_number(token)
        sql = "SELECT seq, entry FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?"
        result = tuple(await self._database.scan(sql, (last or 1 << 62, page_size + 1)))
        page = pages.page(result, page_size, lambda row: str(row[0]))
        return Page(tuple(audit_entry(text) for _, text in page.rows), page.next_token)

    async def cover(self, cover_id: str) -> Cover | None:
        row = self._database.row(_COVER, (cover_id,))
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

    async def put_vectors(self, vectors: Mapping[str, Vector]) -> None:
        sql = "INSERT OR REPLACE INTO cover_vectors SELECT id, ? FROM covers WHERE id = ?"
        values = [(raw(vector), id) for id, vector in vectors.items()]

        def run(connection: sqlite3.Connection) -> None:
            connection.executemany(sql, values)

        await self._database.write(run)

    async def vectors(self, cover_ids: Sequence[str]) -> Mapping[str, Vector]:
        sql = "SELECT cover_id, data FROM cover_vectors WHERE cover_id IN (SELECT value FROM json_each(?))"
        return {id: unpacked(data) for id, data in await self._database.scan(sql, (json.dumps(list(cover_ids)),))}

    async def drop_vectors(self) -> None:
        await self._database.write(lambda connection: connection.execute("DELETE FROM cover_vectors"))

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
                if row := connection.execute(_COVER, (cover.id,)).fetchone():
                    before = rows.cover(row)
                    changed.add(before.item_id)
                    cover = replace(cover, ruling=cover.ruling or before.ruling)
                connection.execute(_UPSERT_COVER, rows.cover_row(cover))
                changed.add(cover.item_id)
        self._embeddings.drop([cover.id for cover in covers], changed)


def _drop_vectors(connection: sqlite3.Connection, cover_ids: Sequence[str]) -> None:
    connection.executemany("DELETE FROM cover_vectors WHERE cover_id = ?", [(id,) for id in cover_ids])


def _record(connection: sqlite3.Connection, entries: Sequence[AuditEntry]) -> None:
    connection.executemany("INSERT INTO audit (entry) VALUES (?)", [(audit_text(entry),) for entry in entries])


def _item(row: Row) -> Item:
    return Item(row[0], row[1], row[2], tuple(json.loads(row[4])), row[3])


def _column(connection: sqlite3.Connection, sql: str, parameter: str) -> list[str]:
    return [row[0] for row in connection.execute(sql, (parameter,)).fetchall()]


def _unused(connection: sqlite3.Connection, uris: Iterable[str]) -> list[str]:
    """The distinct URIs that no row uses."""
    return [uri for uri in dict.fromkeys(uris) if not connection.execute(_USED, (uri,)).fetchone()[0]]
