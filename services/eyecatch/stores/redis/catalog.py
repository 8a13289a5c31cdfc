"""The CatalogStore port on Redis: items and covers, all in one slot. Knows no image bytes, only blob URIs.

Every server holds pools in memory (core/recommending/pools.py), so this slot is read when a pool is first needed and written when
covers are made. Its node has little traffic.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import AuditEntry, Cover, Item, Page, StandingChange, Trust, Vector
from eyecatch.stores import page_tokens as pages
from eyecatch.stores.json_codec import audit_entry, audit_text
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.embeddings import CatalogEmbeddings
from eyecatch.stores.redis.guarded import Guarded
from eyecatch.stores.redis.link import Command, Link
from eyecatch.stores.redis.records import cover_bytes, cover_from, item_from, item_text
from eyecatch.stores.vector_codec import raw, unpacked

_SCAN = 1000
# The latest entries that the audit record keeps, about 20 MB.
_AUDITED = 100_000


class RedisCatalog:
    def __init__(self, link: Link, embeddings: CatalogEmbeddings) -> None:
        self._link, self._embeddings = link, embeddings
        self._guarded = Guarded(link, keys.CATALOG_GUARD)

    async def upsert_items(self, items: Sequence[Item], covers: Sequence[Cover] = ()) -> Sequence[str]:
        rows = [(cover, cover_bytes(cover)) for cover in covers]  # raises before anything is written

        async def decide() -> tuple[list[Command], tuple[set[str], list[str]]]:
            commands: list[Command] = []
            old = await self._items([item.id for item in items])
            replaced = [uri for item in old.values() for uri in item.references]
            for item in items:
                commands += _replace_item(old.get(item.id), item)
                old[item.id] = item
            more, changed = await self._add(rows, set(old))
            used = {uri for item in items for uri in item.references} | {cover.uri for cover in covers}
            unused = await self._unused(
                [uri for uri in replaced if uri not in used], {_ITEM + item.id for item in items}
            )
            return commands + more, (changed, unused)

        changed, unused = await self._guarded.change(decide)
        self._embeddings.drop([cover.id for cover in covers], changed)
        return unused

    async def item(self, item_id: str) -> Item | None:
        return (await self._items([item_id])).get(item_id)

    async def known_items(self, item_ids: Sequence[str]) -> set[str]:
        return set(await self._items(item_ids))

    async def items(self, page_size: int, token: str = "", category: str = "") -> Page[Item]:
        after = pages.last_id(token)
        key = keys.category(category) if category else keys.ITEM_IDS
        ids = await self._ids_after(key, after, page_size + 1)
        items = await self._items(ids[:page_size])
        return Page(tuple(items.values()), pages.token(ids[page_size - 1]) if len(ids) > page_size else "")

    async def delete_item(self, item_id: str) -> Sequence[str] | None:
        async def decide() -> tuple[list[Command], tuple[list[str], list[str]] | None]:
            item = await self.item(item_id)
            if item is None:
                return [], None
            covers = await self._pool(item_id)
            commands: list[Command] = [
                ("HDEL", keys.ITEMS, item_id),
                ("ZREM", keys.ITEM_IDS, item_id),
                ("ZREM", keys.category(item.category), item_id),
                *(("SREM", keys.users_of_blob(uri), _ITEM + item_id) for uri in item.references),
                *(command for cover in covers for command in _remove_cover(cover.id, cover)),
                *(("HDEL", keys.COVER_VECTORS, cover.id) for cover in covers),
            ]
            users = {_ITEM + item_id, *(_COVER + cover.id for cover in covers)}
            uris = await self._unused([*(cover.uri for cover in covers), *item.references], users)
            return commands, (uris, [cover.id for cover in covers])

        deleted = await self._guarded.change(decide)
        if deleted is None:
            return None
        uris, cover_ids = deleted
        self._embeddings.drop(cover_ids, [item_id])
        return uris

    async def add_covers(self, covers: Sequence[Cover]) -> None:
        await self.upsert_items([], covers)

    async def remove_covers(self, cover_ids: Sequence[str], audit: Sequence[AuditEntry] = ()) -> Sequence[str]:

        async def decide() -> tuple[list[Command], tuple[list[str], set[str]]]:
            old = await self._covers(cover_ids)
            commands = [command for id, cover in old.items() for command in _remove_cover(id, cover)]
            commands += [("HDEL", keys.COVER_VECTORS, id) for id in old]
            commands += map(_record, audit)
            uris = await self._unused([cover.uri for cover in old.values()], {_COVER + id for id in old})
            return commands, (uris, {cover.item_id for cover in old.values()})

        uris, changed = await self._guarded.change(decide)
        self._embeddings.drop(cover_ids, changed)
        return uris

    async def change_standings(self, changes: Sequence[StandingChange]) -> Sequence[str]:
        async def decide() -> tuple[list[Command], list[str]]:
            covers = await self._covers([change.entry.cover_id for change in changes])
            commands: list[Command] = []
            changed = []
            for change in changes:
                id = change.entry.cover_id
                if (cover := covers.get(id)) and cover.standing == change.before:
                    covers[id] = replace(cover, ruling=change.after)
                    commands += [("HSET", keys.COVERS, id, cover_bytes(covers[id])), *_wait(covers[id])]
                    commands.append(_record(change.entry))
                    changed.append(id)
            return commands, changed

        return await self._guarded.change(decide)

    async def waiting_covers(self, trust: Trust, page_size: int, token: str = "") -> Page[Cover]:
        ids = await self._ids_after(keys.waiting(trust), pages.last_id(token), page_size + 1)
        covers = await self._covers(ids[:page_size])
        return Page(tuple(covers.values()), pages.token(ids[page_size - 1]) if len(ids) > page_size else "")

    async def audit(self, page_size: int, token: str = "") -> Page[AuditEntry]:
        before = pages.last_id(token)
        if before and not re.fullmatch(r"\d{1,15}-\d{1,15}", before):
            raise InvalidInput.of("page_token", token, "empty, or the next_page_token of the page before")
        end = f"({before}" if before else "+"
        result = await self._link.one("XREVRANGE", keys.AUDIT, end, "-", "COUNT", page_size + 1)
        page = pages.page(tuple(result), page_size, lambda row: row[0].decode())
        return Page(tuple(audit_entry(fields[b"e"]) for _, fields in page.rows), page.next_token)

    async def cover(self, cover_id: str) -> Cover | None:
        return (await self._covers([cover_id])).get(cover_id)

    async def items_of(self, cover_ids: Sequence[str]) -> Mapping[str, str]:
        return {id: cover.item_id for id, cover in (await self._covers(cover_ids)).items()}

    async def pools(self, item_ids: Sequence[str]) -> Mapping[str, Sequence[Cover]]:
        known = await self.known_items(item_ids)
        members = await self._link.many([("SMEMBERS", keys.pool(id)) for id in item_ids])
        covers = await self._covers([id.decode() for pool in members for id in pool])
        return {
            item_id: _oldest_first(c for id in pool if (c := covers.get(id.decode())))
            for item_id, pool in zip(item_ids, members, strict=True)
            if item_id in known
        }

    async def made_for(self, user: str) -> Sequence[Cover]:
        ids = [id.decode() for id in await self._link.one("SMEMBERS", keys.covers_for(user))]
        return list((await self._covers(ids)).values())

    async def all_covers(self) -> AsyncIterator[Cover]:
        after = ""
        while ids := await self._ids_after(keys.COVER_IDS, after, _SCAN):
            for cover in (await self._covers(ids)).values():
                yield cover
            after = ids[-1]

    async def put_vectors(self, vectors: Mapping[str, Vector]) -> None:
        async def decide() -> tuple[list[Command], None]:
            known = await self._covers(list(vectors))
            return [("HSET", keys.COVER_VECTORS, id, raw(vectors[id])) for id in known], None

        await self._guarded.change(decide)

    async def vectors(self, cover_ids: Sequence[str]) -> Mapping[str, Vector]:
        answers = await self._link.one("HMGET", keys.COVER_VECTORS, *cover_ids) if cover_ids else []
        return {id: unpacked(data) for id, data in zip(cover_ids, answers, strict=True) if data}

    async def drop_vectors(self) -> None:
        await self._link.one("UNLINK", keys.COVER_VECTORS)

    async def counts(self) -> tuple[int, int]:
        items, covers = await self._link.many([("HLEN", keys.ITEMS), ("HLEN", keys.COVERS)])
        return int(items), int(covers)

    async def _ids_after(self, key: str, after: str, limit: int) -> list[str]:
        start = b"(" + after.encode() if after else "-"
        return [id.decode() for id in await self._link.one("ZRANGEBYLEX", key, start, "+", "LIMIT", 0, limit)]

    async def _items(self, ids: Sequence[str]) -> dict[str, Item]:
        answers = await self._link.one("HMGET", keys.ITEMS, *ids) if ids else []
        return {id: item_from(id, data) for id, data in zip(ids, answers, strict=True) if data}

    async def _covers(self, ids: Sequence[str]) -> dict[str, Cover]:
        answers = await self._link.one("HMGET", keys.COVERS, *ids) if ids else []
        return {id: cover_from(id, data) for id, data in zip(ids, answers, strict=True) if data}

    async def _pool(self, item_id: str) -> Sequence[Cover]:
        return (await self.pools([item_id])).get(item_id, ())

    async def _add(self, rows: Sequence[tuple[Cover, bytes]], known: set[str]) -> tuple[list[Command], set[str]]:
        """(commands that add or replace covers of items that are `known` or stored, items whose pools change)."""
        known = known | await self.known_items(list({cover.item_id for cover, _ in rows} - known))
        old = await self._covers([cover.id for cover, _ in rows])
        commands: list[Command] = []
        changed: set[str] = set()
        for cover, data in rows:
            if cover.item_id in known:
                if before := old.get(cover.id):
                    commands += _remove_cover(cover.id, before)
                    changed.add(before.item_id)
                    if before.ruling and not cover.ruling:
                        cover = replace(cover, ruling=before.ruling)
                        data = cover_bytes(cover)
                commands += [
                    ("HSET", keys.COVERS, cover.id, data),
                    ("ZADD", keys.COVER_IDS, 0, cover.id),
                    ("SADD", keys.pool(cover.item_id), cover.id),
                    ("SADD", keys.users_of_blob(cover.uri), _COVER + cover.id),
                    *_wait(cover),
                ]
                if user := cover.provenance.made_for:
                    commands.append(("SADD", keys.covers_for(user), cover.id))
                old[cover.id] = cover
                changed.add(cover.item_id)
        return commands, changed

    async def _unused(self, uris: Iterable[str], removed: set[str]) -> list[str]:
        """The distinct URIs that only the `removed` items and covers use."""
        unique = list(dict.fromkeys(uris))
        users = await self._link.many([("SMEMBERS", keys.users_of_blob(uri)) for uri in unique])
        return [uri for uri, of in zip(unique, users, strict=True) if {u.decode() for u in of} <= removed]


_ITEM, _COVER = "i:", "c:"
_WAITING = (Trust.CANDIDATE, Trust.ON_TRIAL)


def _replace_item(old: Item | None, item: Item) -> list[Command]:
    commands: list[Command] = [("HSET", keys.ITEMS, item.id, item_text(item)), ("ZADD", keys.ITEM_IDS, 0, item.id)]
    if old:
        commands.append(("ZREM", keys.category(old.category), item.id))
        commands += [("SREM", keys.users_of_blob(uri), _ITEM + item.id) for uri in old.references]
    commands.append(("ZADD", keys.category(item.category), 0, item.id))
    return commands + [("SADD", keys.users_of_blob(uri), _ITEM + item.id) for uri in item.references]


def _remove_cover(id: str, cover: Cover) -> list[Command]:
    user = cover.provenance.made_for
    return [
        *([("SREM", keys.covers_for(user), id)] if user else []),
        ("HDEL", keys.COVERS, id),
        ("ZREM", keys.COVER_IDS, id),
        *(("ZREM", keys.waiting(trust), id) for trust in _WAITING),
        ("SREM", keys.pool(cover.item_id), id),
        ("SREM", keys.users_of_blob(cover.uri), _COVER + id),
    ]


def _wait(cover: Cover) -> list[Command]:
    """Put the cover among those that wait with its trust, and nowhere else."""
    trust = cover.standing.trust
    leave: list[Command] = [("ZREM", keys.waiting(other), cover.id) for other in _WAITING if other is not trust]
    return [*leave, ("ZADD", keys.waiting(trust), 0, cover.id)] if trust in _WAITING else leave


def _record(entry: AuditEntry) -> Command:
    return ("XADD", keys.AUDIT, "MAXLEN", "~", _AUDITED, "*", "e", audit_text(entry))


def _oldest_first(covers: Iterable[Cover]) -> tuple[Cover, ...]:
    return tuple(sorted(covers, key=lambda cover: (cover.created_at, cover.id)))
