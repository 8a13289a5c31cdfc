"""The version of the key layout on the server; a program refuses a newer layout than its own."""

from eyecatch.core.errors import StoreError, StoreTooNew
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

LAYOUT = 3
"""2: covers with a standing, which programs of layout 1 cannot read. 3: users' own vectors, which programs of layout 2 do not forget."""


async def check_layout(link: Link) -> None:
    """Raises StoreTooNew, and StoreFull or Unavailable if an empty server cannot be written."""
    layout = await link.one("GET", keys.LAYOUT)
    if layout is None:
        await link.one("SET", keys.LAYOUT, LAYOUT, "NX")
        layout = await link.one("GET", keys.LAYOUT)
    if not layout or not bytes(layout).isdigit():
        raise StoreError(f"{keys.LAYOUT} holds something that eyecatch did not write; use another database")
    if int(layout) < LAYOUT:
        await link.one("SET", keys.LAYOUT, LAYOUT)
    if int(layout) > LAYOUT:
        raise StoreTooNew(
            f"the store has layout {int(layout)}, this program knows layouts up to {LAYOUT}; "
            "run the newer eyecatch, or use another database"
        )
