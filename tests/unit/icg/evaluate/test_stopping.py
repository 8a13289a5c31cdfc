"""When a training that is judged in rounds ends."""

import pytest
from icg.evaluate.stopping import Rounds, best


@pytest.mark.parametrize(
    ("values", "over"),
    [
        ([], False),
        ([1.0], False),
        ([1.0, 0.5], False),
        ([1.0, 0.5, 0.5], True),
        ([1.0, 1.0, 1.0], True),
        ([1.0, 0.5, 2.0], False),
        ([1.0, 2.0, 3.0, 4.0], True),
    ],
)
def test_a_training_ends_at_the_most_rounds_or_when_patience_does(values: list[float], over: bool) -> None:
    assert Rounds(most=4, patience=2).over(values) is over


def test_of_equal_rounds_the_first_is_the_best() -> None:
    assert best([0.1, 0.3, 0.3, 0.2]) == 2
    with pytest.raises(ValueError, match="empty"):
        best([])
