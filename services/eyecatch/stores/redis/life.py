"""Whether the server is the one that we know: its life has a name and a pulse, and its settings must not delete anything."""

import secrets
from collections.abc import Mapping
from typing import Any

from eyecatch.core.errors import StoreLost
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

# Part of maxmemory from which on writes may soon fail.
FULL = 0.9
_BEAT = """
redis.call('HSETNX', KEYS[1], 'name', ARGV[1])
return {redis.call('HGET', KEYS[1], 'name'), redis.call('HINCRBY', KEYS[1], 'pulse', 1)}
"""


class Life:
    """All processes count the pulse up; whoever finds it lower than before, or with another name, knows that writes were lost."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._name, self._pulse = b"", 0

    async def beat(self) -> None:
        """Raises StoreLost once if the server lost writes since the last call, and the errors of the link."""
        name, pulse = await self._link.one("EVAL", _BEAT, 1, keys.LIFE, secrets.token_hex(8))
        lost = bool(self._name) and (name != self._name or pulse <= self._pulse)
        self._name, self._pulse = name, pulse
        if lost:
            raise StoreLost("Redis came back empty or older than it was: profiles, covers and jobs may be missing")

    async def problems(self) -> list[str]:
        """Of a single server; a cluster's nodes have settings of their own, which are not looked at."""
        return [] if self._link.clustered else problems(await self._link.one("INFO"))

    async def durable(self) -> bool:
        info = {} if self._link.clustered else await self._link.one("INFO", "persistence")
        return bool(int(info.get("aof_enabled", 1)))


def problems(info: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings of a server, in words, by its answer to INFO."""
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", "noeviction"))
    texts = list[str]()
    if limit and policy != "noeviction":
        texts.append(f"maxmemory-policy {policy} deletes profiles; set noeviction")
    if limit and int(info.get("used_memory", 0)) > FULL * limit:
        texts.append(f"more than {FULL:.0%} of maxmemory is used; raise it or add nodes")
    return texts
