"""An encoding that outlasts its answer is there for the next one."""

import asyncio

import numpy as np
import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.core.types import Vector
from eyecatch.stores.reencode_on_read import MAX_USERS, REENCODE_S, ReencodeOnRead


class Slow:
    """Encodes when it is let; `begun` counts."""

    def __init__(self) -> None:
        self.begun, self.let = 0, asyncio.Event()

    async def __call__(self) -> Vector:
        self.begun += 1
        await self.let.wait()
        return np.ones(64, np.float32)


async def test_it_goes_on_for_the_next_answer_and_is_made_once() -> None:
    reencoding, encode = ReencodeOnRead(), Slow()
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(reencoding.embedding("mia", encode) for _ in range(3)), return_exceptions=True)
    assert asyncio.get_running_loop().time() - began >= REENCODE_S
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    encode.let.set()
    result = await reencoding.embedding("mia", encode)
    assert result is not None
    assert encode.begun == 1
    await reencoding.embedding("mia", encode)
    assert encode.begun == 2, "what is over is the caller's to remember"


async def test_a_failure_is_everybodys_who_waits_and_nobodys_later() -> None:
    reencoding = ReencodeOnRead()

    async def fails() -> Vector:
        raise Unavailable("away")

    for _ in range(2):
        with pytest.raises(Unavailable, match="away"):
            await reencoding.embedding("mia", fails)


async def test_too_many_at_once_are_refused_at_once() -> None:
    reencoding, encode = ReencodeOnRead(), Slow()
    waiting = [asyncio.ensure_future(reencoding.embedding(n, encode)) for n in range(MAX_USERS)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="encoded again already"):
        await reencoding.embedding("one more", encode)
    encode.let.set()
    assert len(await asyncio.gather(*waiting)) == MAX_USERS
