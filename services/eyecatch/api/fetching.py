"""An address of a picture or of keys -> its bytes, from hosts that the operator allows. Knows no picture.

A name is resolved once, and the connection goes to the address that was checked: a name that later leads elsewhere leads nowhere.
"""

import asyncio
import http.client
import ipaddress
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from eyecatch.core.errors import InvalidInput
from eyecatch.pictures import MAX_BYTES

DEADLINE_S = 5.0
"""Of a whole transfer, names and redirects included."""
AT_A_TIME = 8


class Fetcher:
    """`hosts`: "host" or "host:port" each. `private`: those of them that may have private addresses; an address itself may.

    `what`: what is fetched, for errors.
    """

    def __init__(
        self,
        hosts: frozenset[str] = frozenset(),
        private: frozenset[str] = frozenset(),
        deadline_s: float = DEADLINE_S,
        what: str = "a picture",
    ) -> None:
        self._what = what
        self._hosts, self._private, self._deadline_s = hosts | private, private, deadline_s
        self._threads = ThreadPoolExecutor(AT_A_TIME, "fetch")

    async def fetch(self, uri: str, field: str) -> bytes:
        """At most MAX_BYTES + 1 bytes. Raises InvalidInput naming `field`."""
        parts = self._allowed(uri, field)
        transfer = _Transfer(parts, parts.netloc.lower() in self._private)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await loop.run_in_executor(self._threads, transfer.run)
        except TimeoutError:
            problem: object = f"not within {self._deadline_s:g} s"
        except (http.client.HTTPException, OSError, UnicodeError) as error:
            problem = error
        finally:
            transfer.stop()  # else a slow host holds the thread
        raise InvalidInput.of(field, uri, f"an address that answers with {self._what} ({problem})")

    def _allowed(self, uri: str, field: str) -> SplitResult:
        try:
            parts = urlsplit(uri)
            fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        except ValueError:
            raise InvalidInput.of(field, uri, "a blob: URI or an http(s) address") from None
        if not fits or parts.netloc.lower() not in self._hosts:
            allowed = ", ".join(sorted(self._hosts)) or "none (see --allowed-hosts)"
            raise InvalidInput.of(field, uri, f"a blob: URI of ours, or http(s) on an allowed host: {allowed}")
        return parts


class _Transfer:
    """One GET in a thread; `stop` ends it from another one."""

    def __init__(self, parts: SplitResult, may_be_private: bool) -> None:
        self._parts, self._may_be_private = parts, may_be_private
        self._sockets: list[socket.socket] = []
        self._stopped = False

    def run(self) -> bytes:
        """Raises OSError, HTTPException, UnicodeError."""
        parts, host = self._parts, self._parts.hostname or ""
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        with closing(http.client.HTTPConnection(host, port)) as connection:
            connection.sock = self._connected(_address(host, port, self._may_be_private))
            if secure:
                connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
                self._sockets.append(connection.sock)
            connection.request("GET", parts._replace(scheme="", netloc="", fragment="").geturl() or "/")
            with connection.getresponse() as response:
                if response.status != http.HTTPStatus.OK:  # a redirect may lead from an allowed host to a forbidden one
                    raise OSError(f"status {response.status}")
                return response.read(MAX_BYTES + 1)

    def stop(self) -> None:
        self._stopped = True
        for one in self._sockets:
            with suppress(OSError):  # it is closed
                one.shutdown(socket.SHUT_RDWR)

    def _connected(self, address: tuple[socket.AddressFamily, Any]) -> socket.socket:
        connection = socket.socket(address[0], socket.SOCK_STREAM)
        self._sockets.append(connection)
        try:
            connection.settimeout(DEADLINE_S)
            if self._stopped:
                raise TimeoutError("stopped")
            connection.connect(address[1])
        except OSError:
            connection.close()
            raise
        return connection


def _address(host: str, port: int, may_be_private: bool) -> tuple[socket.AddressFamily, Any]:
    """Family and address to connect to. Raises OSError if one of the name's addresses is not public and need be."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not may_be_private and not _is_address(host):
        for *_, address in addresses:
            if not _is_public(str(address[0])):
                raise OSError(f"{host} has the private address {address[0]}; --allowed-private-hosts allows it")
    return addresses[0][0], addresses[0][4]


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_global and not mapped.is_multicast)
