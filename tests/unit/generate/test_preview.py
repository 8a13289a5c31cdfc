"""A job shows its first picture while that is noise, then as it is while others are drawn."""

import io
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.generator import Brief, GeneratedCover
from eyecatch.core.ports import Progress
from eyecatch.core.types import Item, Job, Pixels
from eyecatch.generate.making import Maker
from eyecatch.pictures import preview
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore
from PIL import Image

from tests.fakes import FakeGenerator

NOISE = {2: (200, 30, 30), 3: (30, 200, 30)}
"""What is seen, by step."""
OnPreview = Callable[[Pixels], None]


class Recorder(FakeGenerator):
    """Shows a flat picture 16 wide and 8 high just before two of its steps, to whoever looks."""

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[bool] = []

    async def generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], on_preview: OnPreview | None = None
    ) -> Sequence[GeneratedCover]:
        self.looked.append(on_preview is not None)

        def step(done: int, total: int) -> None:
            if on_preview is not None and done in NOISE:
                on_preview(np.full((8, 16, 3), NOISE[done], np.uint8))
            on_step(done, total)

        return await super().generate(briefs, step)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    store = SqliteStore.open(tmp_path)
    await store.catalog.upsert_items([Item("a", "A")])
    maker = Maker(store.catalog, FsspecBlobs(str(tmp_path / "blobs")), calls := Recorder(), lambda *_: None)

    async def make(count: int) -> tuple[list[Progress], list[bool]]:
        updates: list[Progress] = []
        await maker.make(Job("j", "k", "a", count=count, seed=1), updates.append)
        return updates, calls.looked

    yield make
    store.close()


def shown(progress: Progress) -> Image.Image:
    with Image.open(io.BytesIO(progress.preview)) as picture:
        assert picture.format == "WEBP"
        return picture.convert("RGB")


async def test_a_job_drawn_in_one_go_shows_what_it_draws(make: Callable[..., object]) -> None:
    updates, _ = await make(1)  # type: ignore[misc]
    assert [(p.step, p.total_steps) for p in updates] == [(n, 4) for n in (1, 2, 3, 4)]
    first, second, third, last = updates
    assert first.preview == b""
    for progress, colour in ((second, NOISE[2]), (third, NOISE[3]), (last, NOISE[3])):
        picture = shown(progress)
        assert picture.size == (64, 32), "as large as the thumbnail of a cover"
        assert np.abs(np.asarray(picture, int) - colour).max() < 20
        assert len(progress.preview) < 4000


async def test_then_the_picture_itself_is_shown_and_nothing_more_is_asked_for(make: Callable[..., object]) -> None:
    updates, looked = await make(6)  # type: ignore[misc]
    assert looked == [True, False]
    assert [shown(p).size for p in updates[4:]] == [(64, 64)] * 4, "a cover's, which is square"
    assert len({p.preview for p in updates[4:]}) == 1
    assert {p.preview for p in updates[:4]}.isdisjoint(p.preview for p in updates[4:])


@pytest.mark.parametrize(
    ("shape", "size"), [((16, 16), (64, 64)), ((128, 96), (48, 64)), ((1, 1), (64, 64)), ((1, 500), (64, 1))]
)
def test_pixels_become_a_picture_of_one_size(shape: tuple[int, int], size: tuple[int, int]) -> None:
    small = preview(np.zeros((*shape, 3), np.uint8), 64)
    with Image.open(io.BytesIO(small)) as picture:
        assert (picture.format, picture.size) == ("WEBP", size)
