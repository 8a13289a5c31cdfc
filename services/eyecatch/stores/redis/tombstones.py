"""Tombstones of forgotten users: the key of the profile holds one byte that no profile starts with. Stores no user id.

It has the key of the profile, so that every read and write of a profile finds it.
"""

from collections.abc import Iterable

from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

TOMBSTONE = b"\0"


async def forgotten(link: Link, user_ids: Iterable[str]) -> set[str]:
    """The users that have a tombstone."""
    users = list(user_ids)
    answers = await link.many([("GETRANGE", keys.profile(user_id), 0, 0) for user_id in users])
    return {user_id for user_id, first in zip(users, answers, strict=True) if first == TOMBSTONE}
