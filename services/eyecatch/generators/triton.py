"""The generator on Triton servers: cover_generator draws briefs, cover_scorer gives embeddings and rewards (deploy/triton)."""

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
from eyecatch.core.gates import gate_rewards
from eyecatch.core.generator import Brief, GeneratedCover, PictureScore
from eyecatch.core.judgement import to_rewards
from eyecatch.core.types import Pixels
from eyecatch.generators import triton_wire as wire
from eyecatch.generators.progress import slowest
from eyecatch.generators.triton_endpoints import PING_S, Endpoint, Endpoints
from eyecatch.generators.triton_wire import Broken
from eyecatch.tls import Tls

DRAW, SCORE = "cover_generator", "cover_scorer"
SCORE_BATCH = 64
T = TypeVar("T")


@dataclass(frozen=True)
class TritonOptions:
    """timeout_s: deadline of a whole call with its retries. level: priority, 1 (first) to 3.

    space: the model that must embed covers, `cover_space` of our checkpoint. health_s: seconds between pings of each server.
    engaging: covers get the reward `engagement` too, for which the VLM has to read each of them. tls: None for none.
    """

    timeout_s: float
    level: int
    space: int
    health_s: float = 1.0
    engaging: bool = False
    tls: Tls | None = None


class TritonGenerator:
    """Sends each cover to the least busy server.

    If a server is full, dies or fails, another server is tried, each at most once. That is safe, because the same brief and seed give
    the same cover. A refused brief or a deadline is final. After three failures in a row a server gets no requests for a while.
    """

    def __init__(self, addresses: Sequence[str], options: TritonOptions) -> None:
        self._options = options
        self.endpoints = Endpoints(addresses, DRAW, options.health_s, options.tls)
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether a server takes requests now."""
        return any(each.available for each in self.endpoints.all)

    def start(self) -> None:
        """Start to watch the health of the servers; the first request does so too."""
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
            cover = await self._on_any_server(
                lambda at: self._draw(at, briefs[n], deadline, lambda *s: watch(n, *s), None if n else on_preview),
                deadline,
            )
            return await asyncio.to_thread(_encoded, cover), cover

        tasks = [asyncio.ensure_future(draw(n)) for n in range(len(briefs))]
        try:
            covers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # after a cancellation or a failure the other covers are useless
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        scored = await self._score_all([image for image, _ in covers], [brief.title for brief in briefs], deadline)
        return [
            GeneratedCover(
                image,
                "png",
                cover.pixels.shape[1],
                cover.pixels.shape[0],
                embedding=s.embedding,
                available=cover.available,
                rewards={
                    **s.rewards,
                    **(to_rewards(cover.probabilities) if cover.probabilities else {}),
                    **gate_rewards(cover.gates),
                },
                refusals=cover.refusals,
                **{name: cover.provenance[name] for name in wire.PROVENANCE},
            )
            for (image, cover), s in zip(covers, scored, strict=True)
        ]

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[PictureScore]:
        deadline = self._begin()
        if not images and not await self.alive():
            raise self.endpoints.unavailable()
        return await self._score_all(images, titles, deadline)

    async def alive(self) -> bool:
        open = [each for each in self.endpoints.all if each.breaker.allows()]
        return any(await asyncio.gather(*(each.alive(DRAW, PING_S) for each in open)))

    async def close(self) -> None:
        self._closed = True
        await self.endpoints.close()

    def _begin(self) -> float:
        if self._closed:
            raise Unavailable("the generator is closed")
        self.start()
        return time.monotonic() + self._options.timeout_s

    async def _score_all(self, images: Sequence[bytes], titles: Sequence[str], deadline: float) -> list[PictureScore]:
        scored: list[PictureScore] = []
        for i in range(0, len(images), SCORE_BATCH):
            batch, texts = images[i : i + SCORE_BATCH], titles[i : i + SCORE_BATCH]
            scored += await self._on_any_server(lambda at, b=batch, t=texts: self._score(at, b, t, deadline), deadline)  # type: ignore[misc]
        return scored

    async def _on_any_server(self, work: Callable[[Endpoint], Awaitable[T]], deadline: float) -> T:
        """The result of `work` on the first server that succeeds; the least busy one is tried first."""
        tried: set[Endpoint] = set()
        failure: Unavailable | None = None
        while (endpoint := self.endpoints.choose(tried)) is not None and time.monotonic() < deadline:
            tried.add(endpoint)
            try:
                with endpoint.serving():
                    return await work(endpoint)
            except Unavailable as error:
                failure = type(error)(f"Triton at {endpoint.address}: {error}", max(1.0, endpoint.breaker.wait_s))
        raise failure or self.endpoints.unavailable()

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
            "parameters": {"level": self._options.level, "preview": on_preview is not None},
            "timeout": max(1, round(left * 1e6)),
        }
        stream = endpoint.client.stream_infer(_single(request), stream_timeout=left)
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
                raise Broken(_timeout_text(self._options) if late else str(error.details())) from error
            except asyncio.CancelledError:
                raise _cancellation() from None
        raise Broken("garbage: the answer ended without an image")

    async def _score(
        self, endpoint: Endpoint, images: Sequence[bytes], titles: Sequence[str], deadline: float
    ) -> list[PictureScore]:
        left = deadline - time.monotonic()
        inputs = wire.picture_inputs(images, titles, self._options.engaging)
        call = asyncio.ensure_future(endpoint.client.infer(SCORE, inputs, client_timeout=left))
        try:
            with endpoint.calling(call):
                result = await call
        except asyncio.CancelledError:
            raise _cancellation() from None
        except InferenceServerException as error:
            if error.status() == str(grpc.StatusCode.DEADLINE_EXCEEDED):
                raise Broken(_timeout_text(self._options)) from error
            wire.refuse(str(error.message()))
        return wire.scores(result, len(images), self._options.space)


async def _single(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request


def _cancellation() -> BaseException:
    """The error of a cancelled call: our task was cancelled, or `Endpoint.watch` cancelled the call of a silent server."""
    task = asyncio.current_task()
    cancelled = task is not None and task.cancelling()
    return asyncio.CancelledError() if cancelled else Broken("it does not answer any more")


def _timeout_text(options: TritonOptions) -> str:
    return f"no answer within {options.timeout_s:g} s"


def _encoded(cover: wire.Cover) -> bytes:
    return to_png(Image.fromarray(cover.pixels), cover.provenance)
