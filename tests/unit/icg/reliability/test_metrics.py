"""Precision to calibration, compared with numbers calculated by hand."""

import numpy as np
import pytest
from icg.reliability.metrics import Quality, average_precision, best_threshold, calibration_error, quality, temperature

PROBABILITIES = np.array(
    [[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.4, 0.35, 0.25], [0.3, 0.1, 0.6], [0.2, 0.7, 0.1]]
)
LABELS = np.array([0, 1, 0, 0, 2, 1])


def measured(threshold: float = 0.5) -> Quality:
    return quality(PROBABILITIES, LABELS, threshold)


def test_precision_recall_and_f1_at_a_threshold() -> None:
    """Three are predicted available, two of them correctly; three are available."""
    result = measured()
    assert (result.precision, result.recall, result.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    strict = measured(0.9)
    assert (strict.precision, strict.recall, strict.f1) == pytest.approx((1, 1 / 3, 1 / 2)), (
        "a score equal to the threshold counts as available"
    )
    lax = measured(0.4)
    assert (lax.precision, lax.recall, lax.f1) == pytest.approx((3 / 4, 1, 6 / 7))


def test_the_confusion_is_of_the_likeliest_class() -> None:
    for threshold in (0.1, 0.95):
        result = measured(threshold)
        assert result.confusion.tolist() == [[3, 0, 0], [1, 1, 0], [0, 0, 1]]
        assert result.accuracy == pytest.approx(5 / 6)


def test_rates_without_passed_or_good_pictures() -> None:
    nothing = measured(1.0)
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)
    bad = quality(PROBABILITIES, np.ones(6, int), 0.5)
    assert (bad.precision, bad.recall, bad.f1, bad.ap) == (0, 0, 0, 0)


def test_average_precision_is_the_mean_over_the_good_ones() -> None:
    """Good are the first, third and fourth: 1/1, 2/3 and 3/4."""
    assert measured().ap == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    turned = np.random.default_rng(0).permutation(6)
    assert average_precision(PROBABILITIES[turned, 0], LABELS[turned] == 0) == pytest.approx(measured().ap)
    assert average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, True, False])) == 1


@pytest.mark.parametrize("good", [[1, 0, 0, 1, 0], [1, 0, 1, 0, 0], [1, 1, 0, 0, 0]])
def test_average_precision_of_equal_scores_ignores_their_order(good: list[int]) -> None:
    """0.9 is good, and one of three at 0.5: at 0.5 two of four are good."""
    score = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    assert average_precision(score, np.array(good, bool)) == pytest.approx((1 + 2 / 4) / 2)


def test_calibration_error() -> None:
    """Bins of a tenth: scores 0.92 of two rows, one good; 0.31 and 0.35 of two rows, none good; 1.0 is in the last bin."""
    score, good = np.array([0.92, 0.92, 0.31, 0.35]), np.array([True, False, False, False])
    assert calibration_error(score, good) == pytest.approx(0.5 * 0.42 + 0.5 * 0.33)
    assert calibration_error(np.array([1.0, 1.0, 0.0]), np.array([True, True, False])) == 0
    assert calibration_error(np.array([1.0, 0.94]), np.array([False, True])) == pytest.approx(0.47), "one bin, not two"


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(20_000)
    good = rng.random(20_000) < score
    assert calibration_error(score, good) < 0.02
    assert calibration_error(score**3, good) > 0.15


def test_the_best_threshold_has_the_highest_f1() -> None:
    score, good = PROBABILITIES[:, 0], LABELS == 0
    assert best_threshold(score, good) == 0.4
    of = {t: quality(PROBABILITIES, LABELS, t).f1 for t in score}
    assert max(of, key=lambda t: of[t]) == 0.4
    assert best_threshold(score[::-1], good[::-1]) == 0.4


def test_the_best_threshold_does_not_part_equal_scores() -> None:
    """At 0.9: one of one, F1 2/3. At 0.5: two of five, F1 4/7, however the four at 0.5 are ordered."""
    score, good = np.array([0.9, 0.5, 0.5, 0.5, 0.5]), np.array([True, True, False, False, False])
    assert best_threshold(score, good) == 0.9


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_a_known_scaling(scale: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (6000, 5))
    likely = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (likely.cumsum(1) > rng.random((6000, 1))).argmax(1)
    assert temperature(logits * scale, labels) == pytest.approx(scale, rel=0.06)
    assert temperature(logits * scale + 800, labels) == temperature(logits * scale, labels), (
        "large logits do not overflow"
    )
