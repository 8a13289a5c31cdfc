"""The EventSink port without Kafka: events go directly into the profiles."""

from collections.abc import Sequence

from eyecatch.core.ports import Encoder, ProfileStore
from eyecatch.core.types import Event


class StoreSink:
    def __init__(self, profiles: ProfileStore, encoder: Encoder) -> None:
        self._profiles, self._encoder = profiles, encoder

    async def record(self, events: Sequence[Event]) -> int:
        return await self._profiles.absorb(events, self._encoder)
