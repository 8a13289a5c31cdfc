"""The connection to the server: a pool, timeouts, pipelines, and limited retries with jitter. Knows no key.

A command may be sent twice if the first answer was lost, so every command must be safe to repeat.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from eyecatch.addresses import without_secrets
from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import EyecatchError, InvalidInput, Unavailable
from eyecatch.stores.redis.errors import translate

Command = Sequence[str | bytes | int | float]

# These attempts take 3 s on average: a failover of a cluster takes little more than its node timeout.
ATTEMPTS = 8
WAIT = Backoff(0.05, 1.0, jitter=1.0)
# On the fast path a slow answer is worse than one without personalisation: it gives up early, then pauses.
HURRY_S = 0.05
PAUSE_S = 0.25
_TIMEOUTS = {"socket_timeout": 2.0, "socket_connect_timeout": 1.0}
CONNECTIONS = 32
PIPELINE = 1000
_SCHEMES = ("redis://", "rediss://", "unix://")
# Those of a cluster without some slot are no RedisError.
_ERRORS = (RedisError, RedisClusterException, OSError)

Client = Redis | RedisCluster


class Link:
    """A connection from `open`, or on a given client. `sleep` and `clock` are for tests."""

    def __init__(
        self,
        client: Client,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client: Any = client
        self._sleep, self._clock = sleep, clock
        self._quiet_until: dict[str, float] = {}
        # Callers drop their caches of written data when this grows, because the server may have lost the data.
        self.failures = 0

    @classmethod
    async def open(cls, url: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> "Link":
        """Connect to a server, or to the cluster it is a node of. Raises InvalidInput, Unavailable, StoreError."""
        if not url.startswith(_SCHEMES):
            raise InvalidInput.of(
                "store", without_secrets(url), "redis://, rediss:// or unix:// with a host, or empty for SQLite"
            )
        try:
            # No retries of the library: `many` retries, for servers and clusters alike.
            pool = BlockingConnectionPool.from_url(
                url, max_connections=CONNECTIONS, timeout=2.0, retry=Retry(NoBackoff(), 0), **_TIMEOUTS
            )
        except ValueError as error:
            raise InvalidInput.of("store", without_secrets(url), f"a URL of a Redis server ({error})") from error
        link = cls(Redis.from_pool(pool), sleep)
        try:
            if int((await link.one("INFO", "cluster")).get("cluster_enabled", 0)):
                await link.close()
                # One retry of the library follows the cluster's new map after a failover.
                link = cls(
                    RedisCluster.from_url(
                        url, max_connections=8 * CONNECTIONS, retry=Retry(NoBackoff(), 1), **_TIMEOUTS
                    ),
                    sleep,
                )
                await link.one("EXISTS", "ec:layout")
        except EyecatchError as error:
            await link.close()
            if isinstance(error, Unavailable):
                raise type(error)(f"cannot use {without_secrets(url)} after {ATTEMPTS} attempts: {error}") from error
            raise
        return link

    @property
    def clustered(self) -> bool:
        """Whether the keys of one command must share a slot."""
        return isinstance(self._client, RedisCluster)

    async def one(self, *command: str | bytes | int | float) -> Any:
        """The answer to one command."""
        return (await self.many([command]))[0]

    async def many(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands that do not depend on each other, pipelined. Raises Unavailable, StoreFull, StoreError."""
        answers: list[Any] = []
        for first in range(0, len(commands), PIPELINE):
            answers += await self._with_retries(commands[first : first + PIPELINE])
        return answers

    async def _with_retries(self, commands: Sequence[Command]) -> list[Any]:
        for attempt in range(ATTEMPTS):
            answers, error = await self._send(commands)
            if error is None:
                return answers
            self.failures += 1
            translated, retry = translate(error)
            if not retry or attempt == ATTEMPTS - 1:
                raise translated from error
            await self._sleep(WAIT(attempt))
        raise AssertionError("unreachable")  # pragma: no cover

    async def quick(self, command: str, key: str, *more: str | bytes | int | float) -> Any:
        """The answer to one command. Raises Unavailable after HURRY_S, and for PAUSE_S after a failure of the key's node.

        After the pause one caller tries, and the others are refused until it succeeds.
        """
        node = self._node(key)
        if node in self._quiet_until:
            now = self._clock()
            if now < self._quiet_until[node]:
                raise Unavailable("Redis did not answer a moment ago")
            self._quiet_until[node] = now + PAUSE_S
        try:
            async with asyncio.timeout(HURRY_S):
                answers, error = await self._send([(command, key, *more)])
        except TimeoutError as late:
            answers, error = [], late
        if error is not None:
            self._quiet_until[node] = self._clock() + PAUSE_S
            raise translate(error)[0] from error
        self._quiet_until.pop(node, None)
        return answers[0]

    def _node(self, key: str) -> str:
        """The name of the cluster's node that holds a key; "" if that is unknown or there is no cluster."""
        if not self.clustered:
            return ""
        try:
            node = self._client.get_node_from_key(key)
        except _ERRORS:
            return ""
        return str(node.name) if node else ""

    async def _send(self, commands: Sequence[Command]) -> tuple[list[Any], Exception | None]:
        try:
            if len(commands) == 1:
                return [await self._client.execute_command(*commands[0])], None
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers = await pipeline.execute(raise_on_error=False)
        except _ERRORS as error:
            return [], error
        return answers, next((answer for answer in answers if isinstance(answer, Exception)), None)

    async def scan(self, pattern: str) -> AsyncIterator[bytes]:
        """All keys that match, from all nodes; a key may come twice."""
        try:
            async for key in self._client.scan_iter(match=pattern, count=1000):
                yield key
        except _ERRORS as error:
            raise translate(error)[0] from error

    async def close(self) -> None:
        await self._client.aclose()
