"""What a prior does to an embedding from events, by numbers."""

import numpy as np
import pytest
from eyecatch.core.behaviour.priors import blend
from eyecatch.core.types import RECENT_EVENTS, Prior, zeros

from tests.contracts.builders import unit


@pytest.mark.parametrize("length", [0.3, 1.0])
def test_behaviour_takes_over_and_keeps_its_length(length: float) -> None:
    events, prior, before = unit(1) * np.float32(length), Prior(unit(2) / 3, 8), -1.0
    assert np.allclose(blend(zeros(), 0, prior), prior.row)
    for count in (1, 4, 16, 31):
        mixed = blend(events, count, prior)
        nearness = float(mixed @ unit(1)) / float(np.linalg.norm(mixed))
        assert nearness > before
        assert np.linalg.norm(mixed) == pytest.approx(length, abs=1e-5)
        before = nearness
    assert np.allclose(blend(events, RECENT_EVENTS, prior), events), "a full window has taken over"


def test_a_prior_of_nothing_changes_nothing() -> None:
    for count in (1, 30):
        assert np.allclose(blend(unit(1), count, Prior(zeros(), 64)), unit(1), atol=1e-6)


def test_events_that_say_nothing_leave_the_prior() -> None:
    assert np.array_equal(blend(zeros(), 5, Prior(unit(2), 8)), unit(2))


def test_opposites_never_give_a_number_that_is_not_finite() -> None:
    opposite = Prior(-unit(1), 255)
    for count in range(1, RECENT_EVENTS):
        mixed = blend(unit(1), count, opposite)
        assert np.isfinite(mixed).all()
        assert np.linalg.norm(mixed) == pytest.approx(1, abs=1e-5)
