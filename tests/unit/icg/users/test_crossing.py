"""Users of one cover space in another."""

from pathlib import Path

import numpy as np
import pytest
from icg.checkpoints import SHIPPED
from icg.errors import BriefError, CheckpointError
from icg.users.crossing import FILE, Crossing
from icg.users.numpy_encoder import cover_space
from safetensors.numpy import save_file

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((400, 64)).astype(np.float32)
TURN = np.linalg.qr(RNG.standard_normal((64, 64)))[0].astype(np.float32)


def test_users_arrive_where_their_covers_are() -> None:
    crossing, user = Crossing.fit(ROWS[:300], ROWS[:300] @ TURN), ROWS[300:308].mean(0)
    there = (ROWS[300:308] @ TURN).mean(0)
    assert crossing(user) @ there / np.linalg.norm(there) > 0.999
    assert np.isclose(np.linalg.norm(crossing(user)), 1, atol=1e-5)
    assert not crossing(np.zeros(64)).any(), "nobody stays nobody"
    little = 0.1 * user / np.linalg.norm(user)
    assert np.isclose(np.linalg.norm(crossing(little)), 0.1, atol=1e-5), "of whom little is known, little stays known"


def test_a_map_is_read_beside_the_checkpoint_that_it_leads_to_and_no_other(tmp_path: Path) -> None:
    crossing = Crossing(TURN)
    assert Crossing.load(tmp_path, SHIPPED) is None
    crossing.save(tmp_path, cover_space(SHIPPED))
    read = Crossing.load(tmp_path, SHIPPED)
    assert read is not None
    assert np.array_equal(read.slopes, TURN)
    crossing.save(tmp_path, cover_space(SHIPPED) - 1)
    assert Crossing.load(tmp_path, SHIPPED) is None


@pytest.mark.parametrize("slopes", [np.zeros((64, 3), np.float32), np.full((64, 64), np.nan, np.float32), None])
def test_a_broken_map_is_refused(tmp_path: Path, slopes: np.ndarray | None) -> None:
    if slopes is None:
        (tmp_path / FILE).write_bytes(b"not safetensors")
    else:
        save_file({"slopes": slopes}, tmp_path / FILE, {"cover_space": "2"})
    with pytest.raises(CheckpointError, match="space="):
        Crossing.load(tmp_path, SHIPPED)


def test_a_user_of_another_width_is_refused() -> None:
    with pytest.raises(BriefError, match="width=3; allowed: 64"):
        Crossing(TURN)(np.zeros(3, np.float32))
