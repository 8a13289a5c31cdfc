"""The in-process generator: draws briefs with icg on a checkpoint folder. Heavy packages are imported at the first use."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from icg.provenance import to_png
from PIL import Image

from eyecatch.core.errors import Unavailable
from eyecatch.core.gates import gate_rewards
from eyecatch.core.generator import Brief, GeneratedCover, PictureScore
from eyecatch.core.judgement import to_rewards
from eyecatch.core.types import Pixels
from eyecatch.generators.progress import slowest
from eyecatch.generators.refusals import translated

if TYPE_CHECKING:
    from icg.brief import Brief as IcgBrief
    from icg.draw.ask import Submitter
    from icg.scheduler.engine import StepScheduler
    from icg.starter import Judges, Starter

# Larger batches spend half of their time on fresh memory (docs/log.md).
SCORE_BATCH = 8
DECODED_BATCH = 32
"""Decoded pictures in memory at once."""
DECODERS = 2
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Loaded:
    starter: "Starter"
    scheduler: "StepScheduler"
    submitter: "Submitter"


class LocalGenerator:
    """One model. Covers of all calls share one running batch; loading, decoding and scoring run in a thread of their own.

    `products`: the folder of products of `icg product train`, or None if briefs may name no product. `engaging`: covers get the
    reward `engagement` too, for which the VLM has to read each of them. `space`: a fitted space for covers, instead of the checkpoint's.
    `rewards`: further ones, as in `icg.starter.rewards.load_all`. `device`: of torch, "" for a GPU if there is one.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        products: Path | None = None,
        engaging: bool = False,
        space: Path | None = None,
        rewards: str = "",
        device: str = "",
    ) -> None:
        self._checkpoint, self._products, self._engaging = checkpoint, products, engaging
        self._space, self._rewards, self._device = space, rewards, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generator")
        self._loaded: _Loaded | None = None
        self._rating: Judges | None = None
        self._closed = threading.Event()

    async def load(self) -> None:
        """Load the checkpoint now instead of at the first request. Raises Unavailable if it cannot be read."""
        await self._run(self._load)

    async def generate(
        self,
        briefs: Sequence[Brief],
        on_step: Callable[[int, int], None],
        on_preview: Callable[[Pixels], None] | None = None,
    ) -> Sequence[GeneratedCover]:
        stop = threading.Event()
        try:
            futures = await self._run(partial(self._submit, briefs, on_step, on_preview, stop))
            with translated():
                pictures = await asyncio.gather(*map(asyncio.wrap_future, futures))
        finally:
            stop.set()  # after a cancellation or a failed brief the other covers are useless
        return await self._run(partial(self._covers, pictures))

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[PictureScore]:
        return await self._run(partial(self._score, images, titles))

    async def alive(self) -> bool:
        return not self._closed.is_set()

    async def close(self) -> None:
        self._closed.set()
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)
        if self._loaded is not None:
            await asyncio.to_thread(self._loaded.submitter.close)
            await asyncio.to_thread(self._loaded.scheduler.close)

    async def _run(self, call: Callable[[], T]) -> T:
        if self._closed.is_set():
            raise Unavailable("the generator is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _load(self) -> "_Loaded":
        if self._loaded is None:
            import diffusers
            import transformers
            from icg.draw.ask import Submitter
            from icg.errors import IcgError
            from icg.products.library import Library
            from icg.scheduler.deployment import on_device
            from icg.starter import load

            # Their progress bars would be mixed with the output of the process.
            diffusers.utils.logging.disable_progress_bar()
            transformers.utils.logging.disable_progress_bar()

            try:
                starter = load(self._checkpoint, self._engaging, self._space, self._judges())
                if self._products is not None:
                    starter.pipeline.products = Library(self._products)
                scheduler = on_device(starter.pipeline, self._device)
                self._loaded = _Loaded(starter, scheduler, Submitter(scheduler, starter.designer))
            except (IcgError, OSError) as error:
                raise Unavailable(f"the checkpoint cannot be loaded: {error}") from error
        return self._loaded

    def _judges(self) -> "Judges":
        """What rates pictures: neither VLM nor denoiser, so that importing a catalogue does not load them."""
        if self._rating is None:
            from icg.errors import IcgError
            from icg.gates.domain import DomainReward
            from icg.starter import judges, path
            from icg.starter.rewards import load_all

            root = self._checkpoint or path()
            try:
                embedding, rewards = judges(root, self._space)
                self._rating = (
                    embedding,
                    rewards | load_all(self._rewards) | DomainReward.of(root, embedding.dual.trunk),
                )
            except (IcgError, OSError) as error:
                raise Unavailable(f"the checkpoint cannot be loaded: {error}") from error
        return self._rating

    def _submit(
        self,
        briefs: Sequence[Brief],
        on_step: Callable[[int, int], None],
        on_preview: Callable[[Pixels], None] | None,
        stop: threading.Event,
    ) -> "list[Future[tuple[IcgBrief, Image.Image]]]":
        from icg.draw import ask

        loaded = self._load()
        submitter, taste, settings = loaded.submitter, loaded.starter.taste, loaded.starter.pipeline.settings
        watch = slowest(len(briefs), on_step)
        show = on_preview and (lambda picture: on_preview(np.asarray(picture)))
        requests = []
        with translated():
            for b in briefs:
                user = taste(b.user_embedding) if b.user_embedding.any() else None
                knobs = {"seed": b.seed, "user_embedding": user, **b.drawing.set_knobs()}
                target = knobs.pop("target_kpi", "")
                requests.append((ask.brief(b.title, b.references, settings=settings, **knobs), target))
        return [
            submitter.submit(
                brief,
                target,
                is_cancelled=stop.is_set,
                on_progress=partial(watch, n),
                on_preview=None if n else show,
            )
            for n, (brief, target) in enumerate(requests)
        ]

    def _covers(self, pictures: "Sequence[tuple[IcgBrief, Image.Image]]") -> list[GeneratedCover]:
        from icg.draw.ask import provenance
        from icg.gates.gates import gates
        from icg.reliability.judge import judgements

        starter = self._load().starter
        briefs, images = [brief for brief, _ in pictures], [image for _, image in pictures]
        scored = self._rate(images, [starter.pipeline.plain_title(b) for b in briefs])
        judged = judgements(starter.judge, images, briefs)
        passed = [gates(image, brief, starter.root) for brief, image in pictures]
        return [
            GeneratedCover(
                image=to_png(image, provenance(starter.name, brief, image)),
                suffix="png",
                width=image.width,
                height=image.height,
                embedding=s.embedding,
                rewards={**s.rewards, **(to_rewards(j.probabilities) if j else {}), **gate_rewards(asdict(g))},
                model=starter.name,
                adapter=starter.name,
                seed=brief.seed,
                steps=brief.steps,
                brief_digest=brief.digest(),
                available=j.available if j else None,
                refusals=g.failures(),
            )
            for brief, image, s, j, g in zip(briefs, images, scored, judged, passed, strict=True)
        ]

    def _score(self, images: Sequence[bytes], titles: Sequence[str]) -> list[PictureScore]:
        from icg.pictures import decode, squared

        scored: list[PictureScore] = []
        with translated(), ThreadPoolExecutor(DECODERS) as decoders:
            side = self._common_side()

            def small(number: int) -> "Image.Image":
                picture = decode(images[number], f"images[{number}]")
                # As every judge would: once instead of once for each of them.
                return squared(picture, side) if side else picture

            for i in range(0, len(images), DECODED_BATCH):
                numbers = range(i, min(i + DECODED_BATCH, len(images)))
                scored += self._rate(list(decoders.map(small, numbers)), titles[i : i + DECODED_BATCH])
        return scored

    def _common_side(self) -> int:
        """The side of the squares that all judges read, or 0 if they read different ones."""
        embedding, rewards = self._judges()
        sides = {getattr(reward, "side", 0) for name, reward in rewards.items() if name != "preference"}
        return embedding.space.side if sides <= {embedding.space.side} and not self._engaging else 0

    def _rate(self, images: Sequence[Image.Image], titles: Sequence[str]) -> list[PictureScore]:
        from icg.brief import Brief as IcgBrief
        from icg.models.trunk import one_pass

        if self._engaging:
            self._load()  # the VLM that draws rates too
        embedding, rewards = self._judges()
        scored: list[PictureScore] = []
        for i in range(0, len(images), SCORE_BATCH):
            batch = list(images[i : i + SCORE_BATCH])
            briefs = [IcgBrief(title=t) for t in titles[i : i + SCORE_BATCH]]
            with one_pass():
                embeddings = embedding.covers(batch)
                values = {name: reward(batch, briefs) for name, reward in rewards.items() if name != "preference"}
            scored += [
                PictureScore(np.asarray(e, np.float32), {name: float(v[j]) for name, v in values.items()})
                for j, e in enumerate(embeddings)
            ]
        return scored
