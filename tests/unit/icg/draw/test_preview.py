"""Previews of unfinished covers: when, for whom, how similar to the cover, and that they change no cover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from icg import starter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.draw.preview import Colours, shown_after
from icg.scheduler.engine import StepScheduler
from icg.scheduler.request import Share
from PIL import Image

from tests.unit.icg import tiny
from tests.unit.icg.pipelines import PRODUCT, SIZE, WIDE, brief, pixels, user

Open = Callable[..., StepScheduler]


class Viewer:
    """Both callbacks of one request: previews and steps, in order."""

    def __init__(self) -> None:
        self.previews: list[Image.Image | int] = []

    @property
    def callbacks(self) -> dict[str, Any]:
        return {"on_preview": self.previews.append, "on_progress": lambda step, total: self.previews.append(step)}

    @property
    def pictures(self) -> list[Image.Image]:
        return [one for one in self.previews if not isinstance(one, int)]

    @property
    def steps(self) -> list[int]:
        """The steps that were followed by a preview."""
        return [
            after
            for one, after in zip(self.previews, self.previews[1:], strict=False)
            if isinstance(after, int) and not isinstance(one, int)
        ]


@pytest.mark.parametrize(
    ("total", "steps"), [(1, []), (2, [1]), (3, [2]), (4, [2, 3]), (5, [3, 4]), (8, [4, 6]), (50, [25, 38])]
)
def test_after_half_and_three_quarters_of_the_steps(total: int, steps: list[int]) -> None:
    assert [done for done in range(total + 1) if shown_after(done, total)] == steps


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_looking_changes_no_bit_on_any_family(opened: Open, name: str) -> None:
    scheduler = opened(name)
    for viewed in (
        brief(1),
        brief(2, size=WIDE, guidance=1.0),
        brief(3, product=PRODUCT, reference_strength=0.5),
    ):
        viewer = Viewer()
        alone = pixels(scheduler.submit(viewed))
        assert np.array_equal(pixels(scheduler.submit(viewed, **viewer.callbacks)), alone)
        total = viewer.previews[-1]
        assert isinstance(total, int)
        anchored = {round(viewed.reference_strength * viewed.steps) + 1} if viewed.reference_strength else set()
        assert viewer.steps == sorted({d for d in range(total) if shown_after(d, total)} | anchored)
        _, h, w = scheduler._pipeline.family.shape(viewed.size)
        for picture in viewer.pictures:
            assert (picture.mode, picture.size) == ("RGB", (w, h))
            assert np.ptp(np.asarray(picture)) > 0


def test_previews_are_computed_on_request_alone(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, looks = opened(), []
    real = Colours.__call__

    def counted(self: Colours, clean: torch.Tensor) -> Image.Image:
        looks.append(clean.shape)
        return real(self, clean)

    monkeypatch.setattr(Colours, "__call__", counted)
    viewer = Viewer()
    with scheduler._wake:
        futures = [scheduler.submit(brief(n)) for n in range(3)]
        futures.append(scheduler.submit(brief(4), **viewer.callbacks))
    for future in futures:
        pixels(future)
    assert looks == [scheduler._pipeline.family.shape(SIZE)] * 2
    assert len(viewer.pictures) == 2


def test_a_viewer_that_fails_ends_its_own_request(opened: Open) -> None:
    scheduler = opened()
    alone = pixels(scheduler.submit(brief(1)))

    def gone(picture: Image.Image) -> None:
        raise ConnectionError("the client is gone")

    steps: list[int] = []
    viewer = Viewer()
    with scheduler._wake:
        dead = scheduler.submit(brief(2), on_progress=lambda step, _: steps.append(step), on_preview=gone)
        good = scheduler.submit(brief(1), **viewer.callbacks)
    with pytest.raises(ConnectionError):
        dead.result(60)
    assert np.array_equal(pixels(good), alone)
    assert steps == [1]
    assert viewer.steps == [2, 3]


def test_previews_of_shared_steps_reach_every_request(opened: Open) -> None:
    scheduler, viewers = opened(shared=0.5), [Viewer(), Viewer()]
    with scheduler._wake:
        futures = [
            scheduler.submit(brief(n, steps=8), share=Share(7), **viewer.callbacks) for n, viewer in enumerate(viewers)
        ]
    for future in futures:
        pixels(future)
    (trunk, last), (same, other) = (viewer.pictures for viewer in viewers)
    assert trunk.tobytes() == same.tobytes()
    assert last.tobytes() != other.tobytes()


def test_the_preview_shows_the_product_from_its_first_step(opened: Open) -> None:
    scheduler, viewer = opened(), Viewer()
    flat = Image.new("RGBA", PRODUCT.size, (255, 0, 255, 255))
    flat.putpixel((0, 0), (0, 0, 0, 0))
    cover = pixels(scheduler.submit(brief(1, steps=8, product=flat, reference_strength=0.6), **viewer.callbacks))
    assert viewer.steps == [4, 6]
    before, after = ((np.asarray(p) == (255, 0, 255)).all(-1) for p in viewer.pictures)
    assert not before.any()
    stands = np.asarray(Image.fromarray((cover == (255, 0, 255)).all(-1)).resize(after.shape[::-1]))
    assert after.any()
    assert (after & ~stands).sum() <= 0.1 * stands.sum(), "where the cover has it"


@pytest.fixture(scope="module")
def shipped() -> CoverPipeline:
    return starter.load().pipeline


def test_a_preview_of_the_starter_is_like_its_own_cover(shipped: CoverPipeline) -> None:
    scheduler, titles = StepScheduler(shipped), ("panda", "rocket", "red car", "sunflower", "guitar", "sea")
    viewers = [Viewer() for _ in titles]
    with scheduler._wake:
        futures = [
            scheduler.submit(Brief(title, seed=n, steps=8, user_embedding=user(n)), **viewer.callbacks)
            for n, (title, viewer) in enumerate(zip(titles, viewers, strict=True))
        ]
    covers = [np.asarray(future.result(60).resize((16, 16), Image.Resampling.BOX), float) for future in futures]
    scheduler.close()
    for step in (0, 1):
        previews = [np.asarray(viewer.pictures[step], float) for viewer in viewers]
        like = np.corrcoef([p.ravel() for p in previews + covers])[: len(titles), len(titles) :]
        assert (like.argmax(1) == np.arange(len(titles))).all()
        assert like.diagonal().min() > 0.8


def test_the_matrix_gives_back_the_colours_of_pictures_it_was_not_fitted_to(shipped: CoverPipeline) -> None:
    colours = Colours(shipped.family, shipped.device)
    for name in ("red", "white", "navy", "orange"):
        picture = np.asarray(Image.new("RGB", (64, 64), name))
        with torch.inference_mode():
            latent = shipped.family.encode(torch.from_numpy(picture.copy()).movedim(-1, 0)[None] / 127.5 - 1)[0]
        assert np.abs(np.asarray(colours(latent), float).mean((0, 1)) - picture[0, 0]).max() < 40
