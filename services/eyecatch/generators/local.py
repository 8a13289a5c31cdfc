"""The in-process generator: briefs -> covers on a checkpoint folder through icg. Heavy imports wait for the first use."""

import asyncio
import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.core.ports import Brief, Made, Scored
from eyecatch.generators.provenance import to_png

if TYPE_CHECKING:
    from icg.starter import Starter

SCORE_BATCH = 64
T = TypeVar("T")


class LocalGenerator:
    """One model, one thread: torch already uses every core within one batch."""

    def __init__(self, checkpoint: Path | None = None) -> None:
        self._checkpoint = checkpoint
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generator")
        self._starter: Starter | None = None
        self._closed = threading.Event()

    async def load(self) -> None:
        """Load the checkpoint now instead of at the first request. Raises Unavailable if it cannot be read."""
        await self._run(self._load)

    async def generate(self, briefs: Sequence[Brief], on_step: Callable[[int, int], None]) -> Sequence[Made]:
        stop = threading.Event()
        try:
            return await self._run(partial(self._generate, briefs, on_step, stop))
        except asyncio.CancelledError:
            stop.set()
            raise

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[Scored]:
        return await self._run(partial(self._score, images, titles))

    async def close(self) -> None:
        self._closed.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self, call: Callable[[], T]) -> T:
        if self._closed.is_set():
            raise Unavailable("the generator is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _load(self) -> "Starter":
        if self._starter is None:
            import diffusers
            import transformers
            from icg.errors import IcgError
            from icg.starter import load

            # Their loading bars would land between the lines of whoever runs us.
            diffusers.utils.logging.disable_progress_bar()
            transformers.utils.logging.disable_progress_bar()

            try:
                self._starter = load(self._checkpoint)
            except (IcgError, OSError) as error:
                raise Unavailable(f"the checkpoint cannot be loaded: {error}") from error
        return self._starter

    def _generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], stop: threading.Event
    ) -> list[Made]:
        from icg.brief import Brief as IcgBrief
        from icg.errors import IcgError
        from icg.pipeline import Cancelled

        starter = self._load()

        def watch(step: int, total: int) -> bool:
            on_step(step, total)
            return not (stop.is_set() or self._closed.is_set())

        try:
            asked = [
                IcgBrief(
                    title=b.title,
                    references=tuple(open_rgb(r) for r in b.references),
                    user_embedding=b.user_embedding if b.user_embedding.any() else None,
                    strength=b.strength,
                    seed=b.seed,
                    reference_strength=self._anchor(b, starter),
                    **({"steps": b.steps} if b.steps else {}),
                )
                for b in briefs
            ]
            images = starter.pipeline(asked, watch)
        except Cancelled as error:
            raise Unavailable("generation was cancelled") from error
        except IcgError as error:
            raise InvalidInput.of("brief", str(error), "a brief the model accepts") from error
        scored = self._rate(images, [b.title for b in briefs])
        name = starter.name
        return [
            Made(
                image=to_png(
                    image,
                    {"model": name, "adapter": name, "seed": b.seed, "steps": b.steps, "brief_digest": b.digest()},
                ),
                suffix="png",
                width=image.width,
                height=image.height,
                embedding=s.embedding,
                rewards=s.rewards,
                model=name,
                adapter=name,
                seed=b.seed,
                steps=b.steps,
                brief_digest=b.digest(),
            )
            for b, image, s in zip(asked, images, scored, strict=True)
        ]

    def _anchor(self, brief: Brief, starter: "Starter") -> float:
        from icg.brief import MAX_REFERENCE_STRENGTH

        limit: float = MAX_REFERENCE_STRENGTH
        wanted = brief.reference_strength
        if wanted is None:
            wanted = starter.reference_strength if brief.references else 0.0
        return min(wanted, limit)

    def _score(self, images: Sequence[bytes], titles: Sequence[str]) -> list[Scored]:
        return self._rate([open_rgb(i) for i in images], titles)

    def _rate(self, images: Sequence[Image.Image], titles: Sequence[str]) -> list[Scored]:
        from icg.brief import Brief as IcgBrief

        starter = self._load()
        scored: list[Scored] = []
        for i in range(0, len(images), SCORE_BATCH):
            batch = list(images[i : i + SCORE_BATCH])
            briefs = [IcgBrief(title=t) for t in titles[i : i + SCORE_BATCH]]
            embeddings = starter.embedding.covers(batch)
            values = {name: reward(batch, briefs) for name, reward in starter.rewards.items() if name != "preference"}
            scored += [
                Scored(np.asarray(e, np.float32), {name: float(v[j]) for name, v in values.items()})
                for j, e in enumerate(embeddings)
            ]
        return scored


def open_rgb(data: bytes) -> Image.Image:
    """Bytes that eyecatch.pictures has already normalised -> RGB image."""
    return Image.open(io.BytesIO(data)).convert("RGB")
