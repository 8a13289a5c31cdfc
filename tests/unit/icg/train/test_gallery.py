"""The gallery of the model card shows each title for each user, from the title alone and with a picture."""

from __future__ import annotations

import numpy as np
from icg import starter
from icg.data.art import procedural
from icg.data.bank import build
from icg.train.studies.gallery import sheet


def test_each_title_is_drawn_for_each_user_without_and_with_its_picture() -> None:
    subjects = procedural(2)
    one, two = (
        np.asarray(sheet(starter.load(), subjects[:n], build(subjects, 24, 17), ["mia", "noah"])) for n in (1, 2)
    )
    assert one.shape[1] == two.shape[1] > 4 * 128
    assert two.shape[0] - one.shape[0] >= 128
