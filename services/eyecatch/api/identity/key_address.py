"""The issuer's keys at an https address, fetched again and again. Knows no key."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog

from eyecatch.api.fetching import Fetcher
from eyecatch.core.errors import InvalidInput

log = structlog.get_logger(__name__)

EVERY_S, RETRY_S = 300.0, 5.0


class KeyAddress:
    """Until the first answer there is no key: a server starts also while its issuer is away."""

    def __init__(self, address: str, take: Callable[[bytes], None]) -> None:
        """Raises InvalidInput for an address that is not https."""
        parts = urlsplit(address)
        if parts.scheme != "https" or not parts.hostname:
            raise InvalidInput.of("jwt_keys", address, "a file, or https://host/path")
        self._address, self._take = address, take
        self._fetcher = Fetcher(private=frozenset({parts.netloc.lower()}), what="keys")

    async def watch(self) -> None:
        """Fetch until cancelled. Answers that are refused are logged, and change nothing."""
        while True:
            wait_s = EVERY_S
            try:
                self._take(await self._fetcher.fetch(self._address, "jwt_keys"))
            except InvalidInput as error:
                wait_s = RETRY_S
                log.error("keys_not_read", why=str(error), effect="the keys that were read before stay")
            await asyncio.sleep(wait_s)
