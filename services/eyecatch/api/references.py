"""Reference pictures of a request -> normalised pictures. Addresses are fetched only from hosts that the operator allows."""

import asyncio
import http.client
import urllib.error
import urllib.request
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from eyecatch.core.catalog import Picture
from eyecatch.core.errors import InvalidInput
from eyecatch.core.ports import Blobs
from eyecatch.pictures import MAX_BYTES, earlier_names, normalise
from eyecatch.v1 import types_pb2

TIMEOUT_S = 5.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead from an allowed host to a forbidden one."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


class References:
    def __init__(self, blobs: Blobs, allowed_hosts: frozenset[str]) -> None:
        self._blobs, self._hosts = blobs, allowed_hosts

    async def picture(self, image: types_pb2.Image, field: str) -> Picture:
        """Raises InvalidInput naming `field` for anything but an accepted picture, and NotFound for an unknown blob."""
        kind = image.WhichOneof("source")
        if kind is None:
            raise InvalidInput.of(field, "nothing", "data or uri")
        if kind == "uri" and image.uri.startswith("blob:"):
            await self._blobs.get(image.uri)
            return Picture(uri=image.uri)
        data = image.data if kind == "data" else await asyncio.to_thread(self._fetch, image.uri, f"{field}.uri")
        picture = await asyncio.to_thread(normalise, data, f"{field}.{kind}")
        return replace(picture, earlier=partial(earlier_names, data, field))

    def _fetch(self, uri: str, field: str) -> bytes:
        try:
            parts = urlsplit(uri)
            host = parts.netloc.lower()
        except ValueError:
            raise InvalidInput.of(field, uri, "a blob: URI or an http(s) address") from None
        if parts.scheme not in ("http", "https") or host not in self._hosts:
            allowed = ", ".join(sorted(self._hosts)) or "none (see --allowed-hosts)"
            raise InvalidInput.of(field, uri, f"a blob: URI of ours, or http(s) on an allowed host: {allowed}")
        try:
            with _opener.open(uri, timeout=TIMEOUT_S) as response:
                data: bytes = response.read(MAX_BYTES + 1)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise InvalidInput.of(field, uri, f"an address that answers with a picture ({error})") from error
        return data
