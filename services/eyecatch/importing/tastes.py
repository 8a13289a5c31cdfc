"""Users whose events came before the pictures of their items -> a taste. Knows no table."""

from eyecatch.core.ports import Encoder, ProfileStore


async def encode_users(profiles: ProfileStore, encoder: Encoder) -> int:
    """Encode every user again, a thousand at a time, with the covers that there are now; returns how many. Raises Unavailable, StoreFull.

    Without it a user would have no taste, or one of fewer covers, until their next event.
    """
    count = 0
    async for heads in profiles.scan():
        count += await profiles.reencode(heads.keys, encoder, always=True)
    return count
