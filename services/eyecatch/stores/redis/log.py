"""The latest `max_length` events in the order of arrival: one stream in one slot. Kafka has the whole log.

If the write of a profile failed, its events may be here twice or without effect; readers recognise them by user and event id.
"""

from collections.abc import Sequence
from json import JSONEncoder, loads

from eyecatch.core.types import Action, Event
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

_PAGE = 5000
_text = JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_PLAIN = '["%s","%s","%s",%d,%r,"%s","%s",%d]'
_QUOTES = _PLAIN.count('"')

_APPEND = """
local last = redis.call('INCRBY', KEYS[2], ARGV[2])
local number = last - ARGV[2]
for row in string.gmatch(ARGV[3], '[^\\n]+') do
  number = number + 1
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], string.format('%.0f-0', number), 'e', row)
end
return last
"""


class EventLog:
    def __init__(self, link: Link, max_length: int) -> None:
        self._link, self._max_length = link, max_length
        self.last = 0  # the last sequence number of our last `append`, or an earlier one

    async def append(self, events: Sequence[Event]) -> None:
        if self._max_length:
            for first in range(0, len(events), _PAGE):
                page = events[first : first + _PAGE]
                # One argument for all rows: five thousand arguments cost the client more than splitting costs the server.
                command = ("EVAL", _APPEND, 2, keys.LOG, keys.LOG_SEQUENCE, self._max_length, len(page), _rows(page))
                self.last = await self._link.one(*command)

    async def after(self, number: int, limit: int) -> list[tuple[int, Event]]:
        """At most `limit` (sequence number, event) with a sequence number > `number`."""
        entries = await self._link.one("XRANGE", keys.LOG, f"{number + 1}-0", "+", "COUNT", limit)
        return [(int(id.split(b"-")[0]), _event(fields)) for id, fields in entries]

    async def forget(self, user_id: str, after: int = 0) -> int:
        """Remove a user's events with a sequence number > `after`; returns how many. Reads the log from there on."""
        gone, last = 0, after
        while page := await self.after(last, _PAGE):
            last = page[-1][0]
            mine = [f"{number}-0" for number, event in page if event.user_id == user_id]
            if mine:
                gone += int(await self._link.one("XDEL", keys.LOG, *mine))
        return gone


def _rows(events: Sequence[Event]) -> str:
    """A line of JSON for each event. If no id needs escaping, % formatting takes a fifth of the time."""
    rows = [_PLAIN % event for event in events]
    text = "".join(rows)
    if text.count('"') != _QUOTES * len(rows) or "\\" in text or not text.isprintable():
        rows = list(map(_text, events))
    return "\n".join(rows)


def _event(fields: dict[bytes, bytes]) -> Event:
    id, user_id, item_id, action, time, cover_id, decision_id, dwell_ms = loads(fields[b"e"])
    return Event(id, user_id, item_id, Action(action), time, cover_id, decision_id, dwell_ms)
