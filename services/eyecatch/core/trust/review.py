"""What an editor may decide about covers. Each decision is made with its audit entry, or not at all. Knows no wire."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from eyecatch.core.errors import InvalidInput, NotFound, NotReady, Unavailable
from eyecatch.core.ports import Blobs, CatalogStore
from eyecatch.core.trust.standing import is_original
from eyecatch.core.types import AuditEntry, Cover, Standing, StandingChange, Trust

ATTEMPTS = 4
PAGE = 500
RESTORED = "the item's originals were restored"


class Review:
    """`on_change` is awaited with the items whose covers changed."""

    def __init__(
        self, catalog: CatalogStore, blobs: Blobs, on_change: Callable[[Sequence[str]], Awaitable[None]]
    ) -> None:
        self._catalog, self._blobs, self._on_change = catalog, blobs, on_change

    async def approve(self, cover_id: str, by: str, note: str = "") -> Cover:
        """Trust a cover, also one that failed a gate or is retired. Raises NotFound."""
        return await self._decide(cover_id, lambda s: replace(s, trust=Trust.TRUSTED, reasons=()), by, "approve", note)

    async def retire(self, cover_id: str, by: str, note: str = "") -> Cover:
        """Show a cover to nobody any more, and keep it. An item whose covers are all retired is answered without one. Raises NotFound."""
        reasons = (note or "retired by an editor",)
        return await self._decide(cover_id, lambda _: Standing(Trust.RETIRED, reasons), by, "retire", note)

    async def delete(self, cover_id: str, by: str, note: str = "") -> None:
        """Remove a made cover and its image. Raises NotFound, and NotReady for a catalogue cover."""
        cover = await self._cover(cover_id)
        if is_original(cover):
            raise NotReady(
                f"cover {cover_id!r} came with its item; allowed: RetireCover, or UpsertItems with other references"
            )
        entry = AuditEntry(time.time(), by, "delete", cover.item_id, cover_id, note)
        for uri in await self._catalog.remove_covers([cover_id], [entry]):
            await self._blobs.delete(uri)
        await self._on_change([cover.item_id])

    async def pin(self, item_id: str, cover_id: str, by: str, note: str = "") -> int:
        """Show this cover alone for its item, or with "" all again; returns how many covers changed.

        Raises NotFound, InvalidInput for a cover of another item, and NotReady for one that is not trusted.
        """
        for _ in range(ATTEMPTS):
            pool = (await self._catalog.pools([item_id])).get(item_id)
            if pool is None:
                raise NotFound("item", item_id)
            if cover_id and cover_id not in {cover.id for cover in pool}:
                other = await self._cover(cover_id)
                raise InvalidInput.of("cover_id", cover_id, f"a cover of item {item_id}, not of {other.item_id}")
            changes = []
            for cover in pool:
                chosen = cover.id == cover_id
                if chosen and cover.standing.trust is not Trust.TRUSTED:
                    raise NotReady(
                        f"cover {cover_id!r} is {cover.standing.trust.name.lower()}; allowed: approve it first"
                    )
                if chosen != cover.standing.pinned:
                    after = replace(cover.standing, pinned=chosen)
                    changes.append(_change(cover, after, by, "pin" if chosen else "unpin", note))
            if len(await self._catalog.change_standings(changes)) == len(changes):
                await self._on_change([item_id])
                return len(changes)
        raise _busy(item_id)

    async def restore(self, item_ids: Sequence[str], by: str, note: str = "") -> int:
        """Show the originals of these items again, and nothing else; of all items if there are none. Returns how many covers changed.

        Made covers are retired, not removed. Raises NotFound before anything changes.
        """
        if item_ids:
            missing = sorted(set(item_ids) - await self._catalog.known_items(item_ids))
            if missing:
                raise NotFound("item", missing[0])
            return await self._restore(item_ids, by, note)
        changed, token, more = 0, "", True
        while more:
            page = await self._catalog.items(PAGE, token)
            changed += await self._restore([item.id for item in page.rows], by, note)
            token, more = page.next_token, bool(page.next_token)
        return changed

    async def _restore(self, item_ids: Sequence[str], by: str, note: str) -> int:
        pools = await self._catalog.pools(item_ids)
        changes = []
        for cover in (cover for pool in pools.values() for cover in pool):
            after = Standing(Trust.TRUSTED) if is_original(cover) else Standing(Trust.RETIRED, (RESTORED,))
            if (after != cover.standing and cover.standing.trust is not after.trust) or cover.standing.pinned:
                changes.append(_change(cover, after, by, "restore", note))
        changed = await self._catalog.change_standings(changes)
        if changed:
            await self._on_change(sorted({c.entry.item_id for c in changes}))
        return len(changed)

    async def _decide(
        self, cover_id: str, decide: Callable[[Standing], Standing], by: str, action: str, note: str
    ) -> Cover:
        for _ in range(ATTEMPTS):
            cover = await self._cover(cover_id)
            after = decide(cover.standing)
            if after.trust is cover.standing.trust and after.pinned == cover.standing.pinned:
                return cover
            if await self._catalog.change_standings([_change(cover, after, by, action, note)]):
                await self._on_change([cover.item_id])
                return replace(cover, ruling=after)
        raise _busy(cover_id)

    async def _cover(self, cover_id: str) -> Cover:
        cover = await self._catalog.cover(cover_id)
        if cover is None:
            raise NotFound("cover", cover_id)
        return cover


def _change(cover: Cover, after: Standing, by: str, action: str, note: str) -> StandingChange:
    entry = AuditEntry(time.time(), by, action, cover.item_id, cover.id, note)
    return StandingChange(cover.standing, after, entry)


def _busy(id: str) -> Unavailable:
    return Unavailable(f"others change {id!r} at the same time; try again")
