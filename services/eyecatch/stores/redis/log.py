"""Events in the order of arrival, the latest `max_length` of them: one stream, in one slot. Kafka keeps the whole of it.

An event whose profile could not be written may stand here twice or without effect; readers tell by user and event id.
"""

import json
from collections.abc import Sequence

from eyecatch.core.types import Action, Event
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

_PAGE = 5000

_APPEND = """
local last = redis.call('INCRBY', KEYS[2], #ARGV - 1)
for i = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], string.format('%.0f-0', last - #ARGV + i), 'e', ARGV[i])
end
return last
"""


class EventLog:
    def __init__(self, link: Link, max_length: int) -> None:
        self._link, self._max_length = link, max_length

    async def append(self, events: Sequence[Event]) -> None:
        if self._max_length:
            for first in range(0, len(events), _PAGE):
                rows = [_row(event) for event in events[first : first + _PAGE]]
                await self._link.one("EVAL", _APPEND, 2, keys.LOG, keys.LOG_SEQUENCE, self._max_length, *rows)

    async def after(self, number: int, limit: int) -> list[tuple[int, Event]]:
        """At most `limit` (sequence number, event) with a sequence number > `number`."""
        found = await self._link.one("XRANGE", keys.LOG, f"{number + 1}-0", "+", "COUNT", limit)
        return [(int(id.split(b"-")[0]), _event(fields)) for id, fields in found]

    async def forget(self, user_id: str) -> int:
        """Take a user's events out; returns how many there were. Reads the whole log."""
        gone, last = 0, 0
        while page := await self.after(last, _PAGE):
            last = page[-1][0]
            mine = [f"{number}-0" for number, event in page if event.user_id == user_id]
            if mine:
                gone += int(await self._link.one("XDEL", keys.LOG, *mine))
        return gone


def _row(e: Event) -> str:
    row = [e.id, e.user_id, e.item_id, int(e.action), e.time, e.cover_id, e.decision_id, e.dwell_ms]
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False)


def _event(fields: dict[bytes, bytes]) -> Event:
    id, user_id, item_id, action, time, cover_id, decision_id, dwell_ms = json.loads(fields[b"e"])
    return Event(id, user_id, item_id, Action(action), time, cover_id, decision_id, dwell_ms)
