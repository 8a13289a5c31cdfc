"""Early steps shared by the users of an item."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from icg.errors import BriefError
from icg.scheduler.engine import StepScheduler
from icg.scheduler.request import Share

from tests.unit.icg.pipelines import PICTURE, PRODUCT, Gate, brief, pixels, user

Open = Callable[..., StepScheduler]
BRIEFS = [brief(n, steps=8, references=(PICTURE,) if n == 3 else ()) for n in range(4)]


def test_a_shared_cover_does_not_depend_on_who_shares(opened: Open) -> None:
    apart, together = opened(shared=0.5), opened(shared=0.5)
    alone = [pixels(apart.submit(b, share=Share(7))) for b in BRIEFS]
    futures = [together.submit(b, share=Share(7)) for b in (*BRIEFS, brief(9, steps=5))]
    for future, want in zip(futures, alone, strict=False):
        assert np.array_equal(pixels(future), want)
    assert len({image.tobytes() for image in alone}) == len(alone)


def test_shared_steps_are_drawn_once(opened: Open) -> None:
    scheduler, progress = opened(shared=0.5), []
    with scheduler._wake:
        futures = [scheduler.submit(b, share=Share(7)) for b in BRIEFS[:3]]
    for future in futures:
        pixels(future)
    # 4 steps of one trunk, then 4 of each of three, two rows each.
    assert scheduler.metrics.rows == 2 * 4 + 3 * 2 * 4
    late = scheduler.submit(brief(8, steps=8), share=Share(7), on_progress=lambda step, _: progress.append(step))
    pixels(late)
    assert progress == [5, 6, 7, 8]
    assert scheduler.metrics.rows == 2 * 4 + 4 * 2 * 4
    assert scheduler.metrics.shared == 4 * 4


def test_covers_share_steps_on_request_alone(opened: Open) -> None:
    scheduler, plain = opened(shared=0.5), opened()
    alone = pixels(scheduler.submit(BRIEFS[0]))
    assert np.array_equal(alone, pixels(plain.submit(BRIEFS[0])))
    assert np.array_equal(alone, pixels(plain.submit(BRIEFS[0], share=Share(BRIEFS[0].seed))))
    shares = [Share(7), Share(8), Share(7, user(5))]
    covers = [pixels(scheduler.submit(BRIEFS[0], share=share)).tobytes() for share in shares]
    assert len({alone.tobytes(), *covers}) == 4
    with pytest.raises(BriefError, match="seed=-1"):
        Share(-1)
    with pytest.raises(BriefError, match="shared=2; allowed"):
        opened(shared=2)


def test_an_anchored_cover_branches_before_its_picture_is_set_in(opened: Open) -> None:
    scheduler = opened(shared=0.9)
    anchored = brief(1, steps=8, product=PRODUCT, reference_strength=0.5)
    first = pixels(scheduler.submit(anchored, share=Share(3)))
    assert scheduler.metrics.shared == 4
    assert np.array_equal(pixels(scheduler.submit(anchored, share=Share(3))), first)


def test_a_cancelled_request_ends_no_other_of_its_group(opened: Open) -> None:
    scheduler, gate = opened(shared=0.5), Gate(at=2)
    want = pixels(opened(shared=0.5).submit(BRIEFS[1], share=Share(7)))
    with scheduler._wake:
        leaving = scheduler.submit(BRIEFS[0], share=Share(7), on_progress=gate)
        staying = scheduler.submit(BRIEFS[1], share=Share(7))
    assert gate.reached.wait(60)
    leaving.cancel()
    gate.open.set()
    assert np.array_equal(pixels(staying), want)
