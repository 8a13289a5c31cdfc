"""Hand-written fakes. The generator draws a flat colour and embeds a picture by its colours: cheap, deterministic, no model."""

import asyncio
import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
from eyecatch.core.errors import Unavailable
from eyecatch.core.generator import Brief, GeneratedCover, PictureScore
from eyecatch.core.types import EMBEDDING_DIM
from PIL import Image


def picture(color: str = "red", size: tuple[int, int] = (64, 64), format: str = "PNG", **save: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, format, **save)
    return out.getvalue()


def embed(data: bytes) -> np.ndarray:
    """A unit vector that depends on the mean colour alone."""
    mean = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32).mean(axis=(0, 1)) / 255 - 0.5
    basis = np.random.default_rng(0).standard_normal((3, EMBEDDING_DIM)).astype(np.float32)
    vector = mean @ basis + 1e-3
    return vector / np.linalg.norm(vector)


class FakeGenerator:
    """Every call counts its steps; `error` is raised instead of working; `gate`, when set, is awaited between steps.

    Unless it is `there`, work fails as on a server that is away.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.there = True
        self.steps_done = 0
        self.briefs: list[Brief] = []
        self.rewards = {"relevance": 0.5}
        self.refusals: tuple[str, ...] | None = ()

    async def generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], on_preview: object = None
    ) -> Sequence[GeneratedCover]:
        self.briefs += briefs
        for step in range(4):
            if self.gate:
                await self.gate.wait()
            if self.error:
                raise self.error
            if not self.there:
                raise Unavailable("away")
            self.steps_done += 1
            on_step(step + 1, 4)
            await asyncio.sleep(0)
        return [self._cover(b) for b in briefs]

    def _cover(self, brief: Brief) -> GeneratedCover:
        digest = hashlib.sha256(f"{brief.title}/{brief.seed}".encode()).hexdigest()
        image = picture(f"#{digest[:6]}")
        return GeneratedCover(
            image,
            "png",
            64,
            64,
            embed(image),
            self.rewards,
            "fake",
            "fake",
            brief.seed,
            4,
            digest,
            refusals=self.refusals,
        )

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[PictureScore]:
        if self.error:
            raise self.error
        return [PictureScore(embed(i), {"relevance": 0.5}) for i in images]

    async def alive(self) -> bool:
        return self.there

    async def close(self) -> None:
        pass
