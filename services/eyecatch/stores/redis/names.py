"""What the references in profiles stand for: (item id, cover id) by eight bytes. Written before the profile that uses them.

A name lives NAME_DAYS after the last event that used it, so that ids which somebody made up do not fill the server for ever.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from eyecatch.core.types import Event, Profile
from eyecatch.stores import profile_codec as codec
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

NAME_DAYS = 400
# For so long a name that was written is not written again. Redis may lose it meanwhile, which is seen as a failure of the link.
WRITTEN_S = 60.0
_SECONDS = NAME_DAYS * 24 * 3600
_SEPARATOR = "\x1f"  # ids are printable
_PAGE = 1000
# The client takes five times as long over a command of its own for each.
_WRITE = """
for n, key in ipairs(KEYS) do redis.call('SET', key, ARGV[n + 1], 'EX', ARGV[1]) end
"""


class References:
    """Names never change, so what was read once stays true; at most `capacity` are remembered."""

    def __init__(self, link: Link, capacity: int = 200_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._capacity, self._clock = link, capacity, clock
        self.known: dict[bytes, tuple[str, str]] = {}
        self._written: dict[tuple[str, str], float] = {}
        self._failures = 0

    async def write(self, events: Iterable[Event]) -> None:
        """Keep the names of these events."""
        now, failures = self._clock(), self._link.failures
        if failures != self._failures or len(self._written) > self._capacity:
            self._written.clear()
        names = {(e.item_id, e.cover_id) for e in events}
        due = [name for name in names if self._written.get(name, now) <= now]
        texts = {keys.name(codec.reference(*name)): _SEPARATOR.join(name) for name in due}
        if self._link.clustered:  # where each has a slot of its own
            await self._link.many([("SET", key, text, "EX", _SECONDS) for key, text in texts.items()])
        else:
            pages = [list(texts)[first : first + _PAGE] for first in range(0, len(texts), _PAGE)]
            await self._link.many(
                [("EVAL", _WRITE, len(page), *page, _SECONDS, *[texts[key] for key in page]) for page in pages]
            )
        self._failures = failures
        self._written.update(dict.fromkeys(due, now + WRITTEN_S))

    async def named(self, profiles: Sequence[Profile]) -> list[Profile]:
        """The profiles with the items and covers of their events where they are still known."""
        wanted = {reference for p in profiles for e in p.events if (reference := codec.unnamed(e))}
        if not wanted:
            return list(profiles)
        found = {reference: self.known[reference] for reference in wanted if reference in self.known}
        missing = list(wanted - found.keys())
        answers = await self._link.many([("GET", keys.name(reference)) for reference in missing])
        for reference, data in zip(missing, answers, strict=True):
            if data:
                item_id, _, cover_id = data.decode().partition(_SEPARATOR)
                found[reference] = (item_id, cover_id)
        if len(self.known) + len(missing) > self._capacity:
            self.known.clear()
        self.known.update(found)
        return [replace(p, events=tuple(_named(e, found) for e in p.events)) for p in profiles]


def _named(event: Event, names: codec.Names) -> Event:
    reference = codec.unnamed(event)
    name = names.get(reference) if reference else None
    return event._replace(item_id=name[0], cover_id=name[1]) if name else event
