"""A second cover space for tests: the shipped one with its axes in another order. Knows no test."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from icg.checkpoints import SHIPPED, SPACE, SPACE_WEIGHTS
from icg.models.space import Projection


def another_space(folder: Path) -> Path:
    """Write it: the shipped row rolled by one place is its row."""
    shutil.copytree(SHIPPED / SPACE, folder)
    projection, digest = Projection.load(folder / SPACE_WEIGHTS)
    replace(projection, turn=np.roll(projection.turn, 1, 1)).save(folder / SPACE_WEIGHTS, digest)
    return folder
