"""The Blobs port."""

import asyncio
import hashlib

import pytest
from eyecatch.core.errors import InvalidInput, NotFound
from eyecatch.core.ports import Blobs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOME = "0" * 64


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=4096))
async def test_bytes_come_back_under_a_name_made_of_them(blobs: Blobs, data: bytes) -> None:
    uri = await blobs.put(data, "webp")
    assert uri == f"blob:{hashlib.sha256(data).hexdigest()}.webp"
    assert await blobs.put(data, ".webp") == uri
    assert await blobs.get(uri) == data


async def test_a_deleted_blob_is_gone_and_may_come_back(blobs: Blobs) -> None:
    uri = await blobs.put(b"x", "png")
    await blobs.delete(uri)
    await blobs.delete(uri)
    with pytest.raises(NotFound):
        await blobs.get(uri)
    assert await blobs.put(b"x", "png") == uri
    assert await blobs.get(uri) == b"x"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "blob:",
        f"blob:{SOME}",
        f"blob:{SOME}.webp",
        f"blob:../{SOME}.webp",
        f"blob:{SOME}.webp/../x",
        "/etc/passwd",
        "file:///etc/passwd",
        f"blob:{SOME.upper()}Z.webp",
        f"blob:{SOME}.we bp",
        f"blob:{SOME}.webp\n",
        f"memory://{SOME}.webp",
    ],
)
async def test_what_is_no_uri_of_ours_is_not_found(blobs: Blobs, uri: str) -> None:
    with pytest.raises(NotFound):
        await blobs.get(uri)
    if not uri.startswith("blob:0") or uri.count("/"):
        with pytest.raises(NotFound):
            await blobs.delete(uri)


@pytest.mark.parametrize("suffix", ["", "../x", "a/b", "WEBP", "longer-than-8", "a\n"])
async def test_a_suffix_cannot_lead_elsewhere(blobs: Blobs, suffix: str) -> None:
    with pytest.raises(InvalidInput):
        await blobs.put(b"x", suffix)


async def test_the_same_bytes_at_the_same_time_are_one_blob(blobs: Blobs) -> None:
    data = b"y" * 100_000
    uris = await asyncio.gather(*[blobs.put(data, "webp") for _ in range(16)])
    assert len(set(uris)) == 1
    assert await blobs.get(uris[0]) == data


async def test_a_blob_with_a_name_keeps_its_first_bytes(blobs: Blobs) -> None:
    uri = await blobs.put(b"encoded today", "webp", SOME)
    assert uri == f"blob:{SOME}.webp"
    assert await blobs.put(b"encoded otherwise", "webp", SOME) == uri
    assert await blobs.get(uri) == b"encoded today"
    for name in ("../x", SOME[1:], SOME.replace("0", "g")):
        with pytest.raises(InvalidInput, match="64 hexadecimal digits"):
            await blobs.put(b"x", "webp", name)
