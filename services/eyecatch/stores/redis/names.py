"""What the references in profiles stand for: (item id, cover id) by eight bytes. Written before the profile that uses them.

A name lives NAME_DAYS after the last event that used it, so that ids which somebody made up do not fill the server for ever.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from eyecatch.core.types import Event, Profile
from eyecatch.stores import codec
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Command, Link

NAME_DAYS = 400
_SEPARATOR = "\x1f"  # ids are printable


class References:
    """Names never change, so what was read once stays true; at most `capacity` are remembered."""

    def __init__(self, link: Link, capacity: int = 200_000) -> None:
        self._link, self._capacity = link, capacity
        self.known: dict[bytes, tuple[str, str]] = {}

    def writing(self, events: Iterable[Event]) -> list[Command]:
        """The commands that keep the names of these events."""
        names = {codec.reference(e.item_id, e.cover_id): (e.item_id, e.cover_id) for e in events}
        return [
            ("SET", keys.name(reference), _SEPARATOR.join(name), "EX", NAME_DAYS * 24 * 3600)
            for reference, name in names.items()
        ]

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
    return replace(event, item_id=name[0], cover_id=name[1]) if name else event
