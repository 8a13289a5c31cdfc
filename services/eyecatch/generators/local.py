"""The in-process generator: briefs -> covers on a checkpoint folder through icg. Heavy imports wait for the first use."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from icg.provenance import to_png
from PIL import Image

from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.core.judgement import to_rewards
from eyecatch.core.ports import Brief, Made, Scored
from eyecatch.core.types import Pixels
from eyecatch.generators.progress import slowest

if TYPE_CHECKING:
    from icg.brief import Brief as IcgBrief
    from icg.scheduler.engine import StepScheduler
    from icg.starter import Starter

SCORE_BATCH = 64
T = TypeVar("T")


class LocalGenerator:
    """One model. Covers of all calls are made in one running batch; loading, decoding and scoring have a thread beside it.

    `products`: the folder of products that `icg product train` makes; None where briefs may name none. `engaging`: covers get
    the reward `engagement` too, for which each has to be read.
    """

    def __init__(self, checkpoint: Path | None = None, products: Path | None = None, engaging: bool = False) -> None:
        self._checkpoint, self._products, self._engaging = checkpoint, products, engaging
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generator")
        self._loaded: tuple[Starter, StepScheduler] | None = None
        self._closed = threading.Event()

    async def load(self) -> None:
        """Load the checkpoint now instead of at the first request. Raises Unavailable if it cannot be read."""
        await self._run(self._load)

    async def generate(
        self,
        briefs: Sequence[Brief],
        on_step: Callable[[int, int], None],
        on_preview: Callable[[Pixels], None] | None = None,
    ) -> Sequence[Made]:
        stop = threading.Event()
        try:
            asked, futures = await self._run(partial(self._submit, briefs, on_step, on_preview, stop))
            with told():
                images = await asyncio.gather(*map(asyncio.wrap_future, futures))
        finally:
            stop.set()  # cancelled, or one brief failed: the others are not wanted any more
        return await self._run(partial(self._made, asked, images))

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[Scored]:
        return await self._run(partial(self._score, images, titles))

    async def close(self) -> None:
        self._closed.set()
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)
        if self._loaded is not None:
            await asyncio.to_thread(self._loaded[1].close)

    async def _run(self, call: Callable[[], T]) -> T:
        if self._closed.is_set():
            raise Unavailable("the generator is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _load(self) -> "tuple[Starter, StepScheduler]":
        if self._loaded is None:
            import diffusers
            import transformers
            from icg.errors import IcgError
            from icg.products.library import Library
            from icg.scheduler.engine import StepScheduler
            from icg.starter import load

            # Their loading bars would land between the lines of whoever runs us.
            diffusers.utils.logging.disable_progress_bar()
            transformers.utils.logging.disable_progress_bar()

            try:
                starter = load(self._checkpoint, self._engaging)
                if self._products is not None:
                    starter.pipeline.products = Library(self._products)
                self._loaded = starter, StepScheduler(starter.pipeline)
            except (IcgError, OSError) as error:
                raise Unavailable(f"the checkpoint cannot be loaded: {error}") from error
        return self._loaded

    def _submit(
        self,
        briefs: Sequence[Brief],
        on_step: Callable[[int, int], None],
        on_preview: Callable[[Pixels], None] | None,
        stop: threading.Event,
    ) -> "tuple[list[IcgBrief], list[Future[Image.Image]]]":
        from icg.brief import Brief as IcgBrief
        from icg.pictures import decode
        from icg.starter import anchoring, towards

        starter, scheduler = self._load()
        watch = slowest(len(briefs), on_step)
        show = on_preview and (lambda picture: on_preview(np.asarray(picture)))
        with told():
            asked = []
            for b in briefs:
                knobs = b.drawing.set_knobs()
                wanted, target = knobs.pop("reference_strength", None), knobs.pop("target_kpi", "")
                inpaint = knobs.pop("inpaint", False)
                own = b.drawing.product_id and wanted is None and not inpaint
                shown = () if own else b.references
                references = tuple(decode(r, f"references[{n}]") for n, r in enumerate(shown))
                plain = IcgBrief(
                    title=b.title,
                    references=references,
                    user_embedding=b.user_embedding if b.user_embedding.any() else None,
                    seed=b.seed,
                    **anchoring(references, wanted, inpaint=inpaint),
                    **knobs,
                )
                asked.append(towards(starter.designer, plain, target))
            return asked, [
                scheduler.submit(
                    b, on_progress=partial(watch, n), on_preview=None if n else show, is_cancelled=stop.is_set
                )
                for n, b in enumerate(asked)
            ]

    def _made(self, asked: "Sequence[IcgBrief]", images: Sequence[Image.Image]) -> list[Made]:
        from icg.reliability.judge import judgements

        starter, _ = self._load()
        scored = self._rate(images, [starter.pipeline.plain_title(b) for b in asked])
        judged = judgements(starter.judge, images, asked)
        name = starter.name
        return [
            Made(
                image=to_png(
                    image,
                    {"model": name, "adapter": name, "seed": b.seed, "steps": b.steps, "brief_digest": b.digest()}
                    | ({"product": b.product_id} if b.product_id else {}),
                ),
                suffix="png",
                width=image.width,
                height=image.height,
                embedding=s.embedding,
                rewards={**s.rewards, **(to_rewards(j.probabilities) if j else {})},
                model=name,
                adapter=name,
                seed=b.seed,
                steps=b.steps,
                brief_digest=b.digest(),
                available=j.available if j else None,
            )
            for b, image, s, j in zip(asked, images, scored, judged, strict=True)
        ]

    def _score(self, images: Sequence[bytes], titles: Sequence[str]) -> list[Scored]:
        from icg.pictures import decode

        with told():
            return self._rate([decode(i, f"images[{n}]") for n, i in enumerate(images)], titles)

    def _rate(self, images: Sequence[Image.Image], titles: Sequence[str]) -> list[Scored]:
        from icg.brief import Brief as IcgBrief

        starter, _ = self._load()
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


@contextmanager
def told() -> Iterator[None]:
    """Refusals of icg in the words of the core."""
    from icg.errors import Cancelled, IcgError, Shed

    try:
        yield
    except Cancelled as error:
        raise Unavailable("generation was cancelled") from error
    except Shed as error:
        raise Unavailable(f"the generator has no room: {error}") from error
    except IcgError as error:
        raise InvalidInput.of("brief", str(error), "a brief the model accepts") from error
