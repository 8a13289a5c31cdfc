"""Forgetting a user: removes the profile, events and decisions, and all that was drawn for this user alone. Knows no wire.

Covers of a taste cluster stay: they were made for the mean of many users. upkeep/clusters.py says how much one user adds to it.
"""

from collections.abc import Callable, Sequence

from eyecatch.core.behaviour.tokens import user_tag
from eyecatch.core.ports import Blobs, CatalogStore, CoverIndex, JobQueue, ProfileStore


class Forgetting:
    """`on_pool_change` is called with the items that lose covers."""

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
        """Forget the user; returns whether anything was stored. Safe to repeat after a crash; replays of events do not undo it.

        The order matters: without a profile there are no new jobs, and a worker whose job is removed drops its covers.
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
            await self._queue.announce(items)
            for uri in uris:
                await self._blobs.delete(uri)
        return existed or bool(jobs or covers)
