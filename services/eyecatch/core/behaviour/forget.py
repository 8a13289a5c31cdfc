"""Forgetting a user: the profile with events and decisions, and whatever was drawn for that user alone. Knows no wire.

Covers of a taste cluster stay: they were made for the mean of many users, see upkeep/clusters.py for how much of one it holds.
"""

from collections.abc import Callable, Sequence

from eyecatch.core.behaviour.tokens import user_tag
from eyecatch.core.ports import Blobs, CatalogStore, CoverIndex, JobQueue, ProfileStore


class Forgetting:
    """`on_pool_change` gets the items that lose covers."""

    def __init__(
        self,
        profiles: ProfileStore,
        catalog: CatalogStore,
        queue: JobQueue,
        blobs: Blobs,
        index: CoverIndex,
        on_pool_change: Callable[[Sequence[str]], None],
    ) -> None:
        self._profiles, self._catalog, self._queue, self._blobs = profiles, catalog, queue, blobs
        self._index, self._on_pool_change = index, on_pool_change

    async def forget(self, user_id: str) -> bool:
        """Whether anything was known. Cut short it can be repeated; replays of events do not undo it.

        The order matters: without a profile nothing new is asked for, without its job a worker gives up what it drew.
        """
        existed = await self._profiles.forget(user_id)
        user = user_tag(user_id)
        jobs = await self._queue.forget(user)
        covers = await self._catalog.made_for(user)
        if covers:
            ids = [cover.id for cover in covers]
            uris = await self._catalog.remove_covers(ids)
            self._index.remove(ids)
            items = sorted({cover.item_id for cover in covers})
            self._on_pool_change(items)
            await self._queue.tell(items)
            for uri in uris:
                await self._blobs.delete(uri)
        return existed or bool(jobs or covers)
