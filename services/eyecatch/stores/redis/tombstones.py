"""Who asked to be forgotten: their profile's key holds one byte that no profile begins with. Knows no user id, only its key.

Being the same key as the profile, it is read with it, and nothing can be written past it.
"""

from collections.abc import Iterable

from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

TOMBSTONE = b"\0"


async def forgotten(link: Link, user_ids: Iterable[str]) -> set[str]:
    """Those of the users who have a tombstone."""
    users = list(user_ids)
    answers = await link.many([("GETRANGE", keys.profile(user_id), 0, 0) for user_id in users])
    return {user_id for user_id, first in zip(users, answers, strict=True) if first == TOMBSTONE}
