"""A judge of looks that is independent of all networks."""

import pytest
from icg.data.art import procedural
from icg.data.bank import build
from icg.evaluate.looks import LookJudge, plain_features
from PIL import Image


def test_looks_are_read_without_any_network() -> None:
    subjects = procedural()
    bank, other = build(subjects, 600, 1), build(subjects, 100, 2)
    judge = LookJudge(plain_features, bank, 100.0)
    right = (judge([Image.fromarray(image) for image in other.images]) == other.look).mean(0)
    assert right[1] > 0.9, "palette"
    assert right[2] > 0.5, "backdrop, of fourteen"
    with pytest.raises(ValueError, match="need at least one array"):
        plain_features([])
