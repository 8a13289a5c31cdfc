"""A checkpoint's choice/: how it is learned, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from icg.errors import CheckpointError
from icg.train.users.choice import Choosers, learned, share
from icg.users.affinity import FILE, PART, affinity, save
from safetensors.numpy import save_file

DIM, STYLES = 16, 4


def world(rng: np.random.Generator) -> tuple[np.ndarray, Choosers]:
    """Pictures say their style in four directions and their item, more loudly, in others; users say their favourite in four others."""
    items = np.repeat(rng.normal(0, 1, (60, 1, DIM)), STYLES, 1)
    items[..., :STYLES] = 0.3 * np.eye(STYLES)
    worth = rng.normal(0, 0.2, (400, STYLES))
    worth[np.arange(400), rng.integers(0, STYLES, 400)] += 3
    users = rng.normal(0, 0.1, (400, DIM))
    users[:, -STYLES:] += 0.5 * (worth == worth.max(1, keepdims=True))
    return items.astype(np.float32), Choosers(users.astype(np.float32), worth)


def test_choices_are_learned_and_another_user_s_are_not() -> None:
    rng = np.random.default_rng(0)
    (items, old), (_, new) = world(rng), world(rng)
    matrix = learned(items, old, 150, 0)
    assert share(items, new, matrix, rng) > 0.9
    assert share(items, new, np.eye(DIM), rng) < 0.4
    assert share(items, Choosers(np.roll(new.users, 1, 0), new.worth), matrix, rng) < 0.4


def test_it_is_part_of_a_checkpoint_and_belongs_to_its_own_space(tmp_path: Path) -> None:
    assert affinity(tmp_path) is None
    save(tmp_path, np.eye(DIM))
    (tmp_path / "space").mkdir()
    save_file({"weight": np.zeros((1, 1), np.float32)}, tmp_path / "space" / "projection.safetensors")
    read = affinity(tmp_path)
    assert read is not None
    assert (read == np.eye(DIM)).all()
    assert affinity(tmp_path, tmp_path / "other") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no safetensors", "not readable"),
        (np.zeros((2, 3), np.float32), r"shape \(2, 3\)"),
        (np.full((2, 2), np.nan), "finite"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / PART).mkdir()
    (tmp_path / "space").mkdir()
    save_file({"weight": np.zeros((1, 1), np.float32)}, tmp_path / "space" / "projection.safetensors")
    if isinstance(content, bytes):
        (tmp_path / PART / FILE).write_bytes(content)
    else:
        save_file({"affinity": np.asarray(content, np.float32)}, tmp_path / PART / FILE)
    with pytest.raises(CheckpointError, match=message):
        affinity(tmp_path)
