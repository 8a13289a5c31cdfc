"""What draws covers and rates pictures, as services see it: protocols and what passes through them. Knows no model."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from eyecatch.core.drawing import DEFAULT, Drawing
from eyecatch.core.ports import Progress
from eyecatch.core.types import (
    Job,
    JobStatus,
    Pixels,
    Vector,
)


@dataclass(frozen=True, eq=False)
class Brief:
    """Everything a generator needs for one cover. `references`: encoded images, best first. `user_embedding`: (D,), or zeros."""

    title: str
    references: tuple[bytes, ...]
    user_embedding: Vector
    seed: int
    drawing: Drawing = DEFAULT


@dataclass(frozen=True, eq=False)
class GeneratedCover:
    """One generated cover: PNG or WebP bytes carrying provenance, its embedding and its rewards.

    `available`: whether the judge of product pictures would show it, None if it was not judged. The probabilities are among the
    rewards (core/judgement.py), and so are the values of the gates (core/gates.py). `refusals`: the gates that it does not pass, in
    words with value and threshold; None if the generator measured none.
    """

    image: bytes
    suffix: str
    width: int
    height: int
    embedding: Vector
    rewards: Mapping[str, float]
    model: str
    adapter: str
    seed: int
    steps: int
    brief_digest: str
    available: bool | None = None
    refusals: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class PictureScore:
    """The embedding (D,) of a picture, and its rewards by name."""

    embedding: Vector
    rewards: Mapping[str, float]


class Generator(Protocol):
    """Draws covers of briefs, and scores pictures that it did not draw: both need the GPU."""

    async def generate(
        self,
        briefs: Sequence[Brief],
        on_step: Callable[[int, int], None],
        on_preview: Callable[[Pixels], None] | None = None,
    ) -> Sequence[GeneratedCover]:
        """Draw one cover for each brief. `on_step(step, total)` is called after each denoising step, from any thread.

        `on_preview` too is called from any thread, a few times or never, with a tiny estimate of the first cover. Neither may block.
        Cancelling the task stops the denoiser within one step. Raises Unavailable if the model does not answer.
        """

    async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[PictureScore]:
        """Embeddings and stored rewards of encoded pictures with these titles."""

    async def alive(self) -> bool:
        """Whether it could draw a cover now. Costs next to nothing; takes at most a few seconds."""

    async def close(self) -> None: ...


class Upscaler(Protocol):
    """Enlarges covers before they are stored, in the process that stores them."""

    async def upscale(self, cover: GeneratedCover, picture: bytes = b"") -> GeneratedCover:
        """The same cover, larger. Its image carries its provenance, and that it was upscaled.

        picture: the item's own one, encoded, that the cover was composed around; it is set in anew, in its own pixels.
        Embedding and rewards stay those of the small picture. Raises Unavailable, and InvalidInput for a cover it cannot enlarge.
        """


class Generation(Protocol):
    """The slow path, as the API uses it."""

    async def request(self, job: Job) -> JobStatus:
        """Queue the job, or return the status of the job that has its key. Raises Overloaded, NotFound, Unavailable.

        If the call is cancelled, the job may be queued all the same, until `cancel`.
        """

    def watch(self, job_id: str) -> AsyncGenerator[Progress | JobStatus]:
        """Progress as it changes, then one final JobStatus (DONE or FAILED). Close it to stop watching.

        Raises Unavailable while the generator does not answer: the job waits, and its caller need not.
        """

    async def cancel(self, job_id: str) -> None:
        """Stop the job if no other caller watches it, also one whose `request` was cancelled; its denoiser stops within one step."""
