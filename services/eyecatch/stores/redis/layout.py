"""Which layout of keys the server holds; an older program keeps its hands off a newer one's."""

from eyecatch.core.errors import StoreError, StoreTooNew
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

LAYOUT = 1


async def check_layout(link: Link) -> None:
    """Raises StoreTooNew, and StoreFull or Unavailable when an empty server cannot be written."""
    found = await link.one("GET", keys.LAYOUT)
    if found is None:
        await link.one("SET", keys.LAYOUT, LAYOUT, "NX")
        found = await link.one("GET", keys.LAYOUT)
    if not found or not bytes(found).isdigit():
        raise StoreError(f"{keys.LAYOUT} holds something that eyecatch did not write; use another database")
    if int(found) > LAYOUT:
        raise StoreTooNew(
            f"the store has layout {int(found)}, this program knows layouts up to {LAYOUT}; "
            "run the newer eyecatch, or use another database"
        )
