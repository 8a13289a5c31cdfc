"""A hand-written generator for imports: it embeds a picture as its colour histogram, which is real if modest."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from eyecatch.core.generator import Brief, GeneratedCover, PictureScore
from eyecatch.core.types import EMBEDDING_DIM
from PIL import Image


class HistogramGenerator:
    """Counts what it was asked to score; makes nothing."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], on_preview: object = None
    ) -> Sequence[GeneratedCover]:
        return []

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[PictureScore]:
        self.batches.append(len(images))
        return [self._one(image) for image in images]

    def _one(self, data: bytes) -> PictureScore:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int64) // 64
        histogram = np.bincount((pixels @ [16, 4, 1]).ravel(), minlength=EMBEDDING_DIM).astype(np.float32)
        return PictureScore(histogram / np.float32(np.linalg.norm(histogram)), {"brightness": float(pixels.mean())})

    async def alive(self) -> bool:
        return True

    async def close(self) -> None:
        return
