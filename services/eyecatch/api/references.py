"""Reference pictures of a request -> normalised pictures, within a budget of bytes and pixels. Addresses are fetched (fetching.py)."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from icg.errors import InputError
from icg.pictures import dimensions

from eyecatch.api.fetching import Fetcher
from eyecatch.core.catalog import Picture
from eyecatch.core.errors import InvalidInput, Violation
from eyecatch.core.ports import Blobs
from eyecatch.pictures import earlier_names, normalise
from eyecatch.v1 import types_pb2

REQUEST_BYTES = 64_000_000
"""Of fetched pictures; those inside of a message are bounded with it."""
REQUEST_PIXELS = 200_000_000
"""Some seconds of one core."""
MOST_THREADS = 4
"""A picture of the most pixels takes some 300 MB while it is decoded."""
NICENESS = 10
T = TypeVar("T")


class References:
    """Decodes beside the fast path: in few threads, of which the system prefers others."""

    def __init__(self, blobs: Blobs, fetcher: Fetcher) -> None:
        self._blobs, self._fetcher = blobs, fetcher
        threads = min(MOST_THREADS, max(1, (os.cpu_count() or 1) // 2))
        self._decoders = ThreadPoolExecutor(threads, "decode", initializer=_yield_to_others)

    async def pictures(self, images: Sequence[tuple[str, types_pb2.Image]]) -> list[Picture]:
        """The pictures of one request, by the field of each.

        Raises InvalidInput naming each field that has anything but an accepted picture, or with which the request has too many bytes
        or pixels, and NotFound for an unknown blob.
        """
        contents = await _all(self._content(image, field) for field, image in images)
        fields = [f"{field}.{image.WhichOneof('source')}" for field, image in images]
        _check_budget(contents, fields)
        return await _all(map(self._decoded, contents, fields))

    async def _content(self, image: types_pb2.Image, field: str) -> bytes | str:
        """Encoded bytes, or the URI of a blob of ours."""
        kind = image.WhichOneof("source")
        if kind is None:
            raise InvalidInput.of(field, "nothing", "data or uri")
        if kind == "data":
            return image.data
        if image.uri.startswith("blob:"):
            await self._blobs.get(image.uri)
            return image.uri
        return await self._fetcher.fetch(image.uri, f"{field}.uri")

    async def _decoded(self, content: bytes | str, field: str) -> Picture:
        if isinstance(content, str):
            return Picture(uri=content)
        loop = asyncio.get_running_loop()
        picture = await loop.run_in_executor(self._decoders, normalise, content, field)
        return replace(picture, earlier=partial(earlier_names, content, field))


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, or InvalidInput with the violations of all, or another error."""
    results = await asyncio.gather(*work, return_exceptions=True)
    refused = [violation for one in results if isinstance(one, InvalidInput) for violation in one.violations]
    for one in results:
        if isinstance(one, BaseException) and not isinstance(one, InvalidInput):
            raise one
    if refused:
        raise InvalidInput(refused)
    return [one for one in results if not isinstance(one, BaseException)]


def _check_budget(contents: Sequence[bytes | str], fields: Sequence[str]) -> None:
    """Raises InvalidInput for the first picture with which the request has too much, by what headers say."""
    read = pixels = 0
    for content, field in zip(contents, fields, strict=True):
        if isinstance(content, str):
            continue
        try:
            width, height = dimensions(content, field)
        except InputError as error:
            raise InvalidInput([Violation(field, error.value, error.allowed)]) from error
        read, pixels = read + len(content), pixels + width * height
        if read > REQUEST_BYTES:
            raise InvalidInput.of(field, f"{read} bytes up to here", f"at most {REQUEST_BYTES} in a request")
        if pixels > REQUEST_PIXELS:
            raise InvalidInput.of(field, f"{pixels} pixels up to here", f"at most {REQUEST_PIXELS} in a request")


def _yield_to_others() -> None:
    if hasattr(os, "setpriority"):  # Linux has a priority for each thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
