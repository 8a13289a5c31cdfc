"""The generator on Triton servers: briefs -> covers by cover_generator, embeddings and rewards by cover_scorer (deploy/triton)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from icg.provenance import to_png
from PIL import Image
from tritonclient.utils import InferenceServerException

from eyecatch.core.errors import Unavailable
from eyecatch.core.judgement import to_rewards
from eyecatch.core.ports import Brief, GeneratedCover, Scored
from eyecatch.core.types import Pixels
from eyecatch.generators import triton_wire as wire
from eyecatch.generators.progress import slowest
from eyecatch.generators.triton_endpoints import PING_S, Endpoint, Endpoints
from eyecatch.generators.triton_wire import Broken

DRAW, SCORE = "cover_generator", "cover_scorer"
SCORE_BATCH = 64
T = TypeVar("T")


@dataclass(frozen=True)
class TritonOptions:
    """timeout_s: deadline of a whole call, retries included. level: priority, 1 (first) to 3.

    space: which model must embed covers, as `cover_space` of our checkpoint. health_s: seconds between looks at each server.
    engaging: covers get the reward `engagement` too, for which the VLM has to read each of them.
    """

    timeout_s: float
    level: int
    space: int
    health_s: float = 1.0
    engaging: bool = False


class TritonGenerator:
    """Each cover goes to the server that has least to do.

    If a server is full, dies or breaks, the cover goes to another one, each at most once: the same brief and seed give the same cover,
    so a second attempt harms nobody. A refused brief or a deadline is final. After three failures in a row a server gets a pause.
    """

    def __init__(self, addresses: Sequence[str], asking: TritonOptions) -> None:
        self._asking = asking
        self.endpoints = Endpoints(addresses, DRAW, asking.health_s)
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether a server could be asked now."""
        return any(each.available for each in self.endpoints.all)

    def start(self) -> None:
        """Begin to watch the servers' health; the first request does so too."""
        self.endpoints.start()

    async def generate(
        self,
        briefs: Sequence[Brief],
        on_step: Callable[[int, int], None],
        on_preview: Callable[[Pixels], None] | None = None,
    ) -> Sequence[GeneratedCover]:
        deadline = self._begin()
        watch = slowest(len(briefs), on_step)

        async def draw(n: int) -> tuple[bytes, wire.Cover]:
            drawn = await self._anywhere(
                lambda at: self._draw(at, briefs[n], deadline, lambda *s: watch(n, *s), None if n else on_preview),
                deadline,
            )
            return await asyncio.to_thread(_encoded, drawn), drawn

        tasks = [asyncio.ensure_future(draw(n)) for n in range(len(briefs))]
        try:
            drawn = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # one failed, or the caller went away: nobody wants the others any more
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        scored = await self._scored([image for image, _ in drawn], [brief.title for brief in briefs], deadline)
        return [
            GeneratedCover(
                image,
                "png",
                cover.pixels.shape[1],
                cover.pixels.shape[0],
                embedding=s.embedding,
                available=cover.available,
                rewards={**s.rewards, **(to_rewards(cover.probabilities) if cover.probabilities else {})},
                **{name: cover.provenance[name] for name in wire.PROVENANCE},
            )
            for (image, cover), s in zip(drawn, scored, strict=True)
        ]

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[Scored]:
        deadline = self._begin()
        if not images and not any([await each.alive(DRAW, PING_S) for each in self.endpoints.all]):
            raise self.endpoints.nobody()
        return await self._scored(images, titles, deadline)

    async def close(self) -> None:
        self._closed = True
        await self.endpoints.close()

    def _begin(self) -> float:
        if self._closed:
            raise Unavailable("the generator is closed")
        self.start()
        return time.monotonic() + self._asking.timeout_s

    async def _scored(self, images: Sequence[bytes], titles: Sequence[str], deadline: float) -> list[Scored]:
        found: list[Scored] = []
        for i in range(0, len(images), SCORE_BATCH):
            batch, named = images[i : i + SCORE_BATCH], titles[i : i + SCORE_BATCH]
            found += await self._anywhere(lambda at, b=batch, t=named: self._score(at, b, t, deadline), deadline)  # type: ignore[misc]
        return found

    async def _anywhere(self, work: Callable[[Endpoint], Awaitable[T]], deadline: float) -> T:
        """The result of `work` at the first server that can do it, the least busy one first."""
        tried: set[Endpoint] = set()
        failure: Unavailable | None = None
        while (endpoint := self.endpoints.choose(tried)) is not None and time.monotonic() < deadline:
            tried.add(endpoint)
            try:
                with endpoint.serving():
                    return await work(endpoint)
            except Unavailable as error:
                failure = type(error)(f"Triton at {endpoint.address}: {error}", max(1.0, endpoint.breaker.wait_s))
        raise failure or self.endpoints.nobody()

    async def _draw(
        self,
        endpoint: Endpoint,
        brief: Brief,
        deadline: float,
        on_step: Callable[[int, int], None],
        on_preview: Callable[[Pixels], None] | None,
    ) -> wire.Cover:
        left = deadline - time.monotonic()
        request = {
            "model_name": DRAW,
            "inputs": wire.brief_inputs(brief),
            "parameters": {"level": self._asking.level, "preview": on_preview is not None},
            "timeout": max(1, round(left * 1e6)),
        }
        stream = endpoint.client.stream_infer(_once(request), stream_timeout=left)
        with endpoint.calling(stream):
            try:
                async for result, error in stream:
                    if error is not None:
                        wire.refuse(str(error.message()))
                    step = wire.progress(result)
                    if step is None:
                        return wire.cover(result)
                    picture = wire.preview(result)
                    if picture is not None and on_preview is not None:
                        on_preview(picture)
                    on_step(*step)
            except grpc.aio.AioRpcError as error:
                late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                raise Broken(_late(self._asking) if late else str(error.details())) from error
            except asyncio.CancelledError:
                raise _silent() from None
        raise Broken("garbage: the answer ended without an image")

    async def _score(
        self, endpoint: Endpoint, images: Sequence[bytes], titles: Sequence[str], deadline: float
    ) -> list[Scored]:
        left = deadline - time.monotonic()
        inputs = wire.picture_inputs(images, titles, self._asking.engaging)
        call = asyncio.ensure_future(endpoint.client.infer(SCORE, inputs, client_timeout=left))
        try:
            with endpoint.calling(call):
                result = await call
        except asyncio.CancelledError:
            raise _silent() from None
        except InferenceServerException as error:
            if error.status() == str(grpc.StatusCode.DEADLINE_EXCEEDED):
                raise Broken(_late(self._asking)) from error
            wire.refuse(str(error.message()))
        return wire.scores(result, len(images), self._asking.space)


async def _once(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request


def _silent() -> BaseException:
    """What a cancelled call means: that somebody cancelled us, or that `Endpoint.watch` has ended it."""
    task = asyncio.current_task()
    ours = task is not None and task.cancelling()
    return asyncio.CancelledError() if ours else Broken("it does not answer any more")


def _late(asking: TritonOptions) -> str:
    return f"no answer within {asking.timeout_s:g} s"


def _encoded(cover: wire.Cover) -> bytes:
    return to_png(Image.fromarray(cover.pixels), cover.provenance)
