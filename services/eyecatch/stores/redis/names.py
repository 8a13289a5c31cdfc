"""Names of the references in profiles: eight bytes -> (item id, cover id). Written before the profile that uses them.

A name expires NAME_DAYS after the last event that used it, so that invented ids do not fill the server.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from eyecatch.core.types import Event, Profile
from eyecatch.stores import profile_codec as codec
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

NAME_DAYS = 400
# A written name is not written again for this time, unless the link had a failure: then Redis may have lost it.
WRITTEN_S = 60.0
_SECONDS = NAME_DAYS * 24 * 3600
_SEPARATOR = "\x1f"  # ids are printable
_PAGE = 1000
# One command for each name would cost the client five times as much.
_WRITE = """
for n, key in ipairs(KEYS) do redis.call('SET', key, ARGV[n + 1], 'EX', ARGV[1]) end
"""


class References:
    """Reads and writes names. Names never change, so that they are cached without expiry, at most `capacity` of them."""

    def __init__(self, link: Link, capacity: int = 200_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._capacity, self._clock = link, capacity, clock
        self.known: dict[bytes, tuple[str, str]] = {}
        self._written: dict[tuple[str, str], float] = {}
        self._failures = 0

    async def write(self, events: Iterable[Event]) -> None:
        """Store the names of these events."""
        now, failures = self._clock(), self._link.failures
        if failures != self._failures or len(self._written) > self._capacity:
            self._written.clear()
        names = {(e.item_id, e.cover_id) for e in events}
        due = [name for name in names if self._written.get(name, now) <= now]
        texts = {keys.name(codec.reference(*name)): _SEPARATOR.join(name) for name in due}
        if self._link.clustered:  # each name has a slot of its own
            await self._link.many([("SET", key, text, "EX", _SECONDS) for key, text in texts.items()])
        else:
            pages = [list(texts)[first : first + _PAGE] for first in range(0, len(texts), _PAGE)]
            await self._link.many(
                [("EVAL", _WRITE, len(page), *page, _SECONDS, *[texts[key] for key in page]) for page in pages]
            )
        self._failures = failures
        self._written.update(dict.fromkeys(due, now + WRITTEN_S))

    async def resolve(self, profiles: Sequence[Profile]) -> list[Profile]:
        """The profiles with the item and cover ids of their events, as far as the names are stored."""
        references = {reference for p in profiles for e in p.events if (reference := codec.unknown_reference(e))}
        if not references:
            return list(profiles)
        names = {reference: self.known[reference] for reference in references if reference in self.known}
        missing = list(references - names.keys())
        answers = await self._link.many([("GET", keys.name(reference)) for reference in missing])
        for reference, data in zip(missing, answers, strict=True):
            if data:
                item_id, _, cover_id = data.decode().partition(_SEPARATOR)
                names[reference] = (item_id, cover_id)
        if len(self.known) + len(missing) > self._capacity:
            self.known.clear()
        self.known.update(names)
        return [replace(p, events=tuple(_with_name(e, names) for e in p.events)) for p in profiles]


def _with_name(event: Event, names: codec.Names) -> Event:
    reference = codec.unknown_reference(event)
    name = names.get(reference) if reference else None
    return event._replace(item_id=name[0], cover_id=name[1]) if name else event
