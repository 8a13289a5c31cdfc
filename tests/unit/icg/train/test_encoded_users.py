"""Users as the services embed them say which palette and backdrop they like, another one's vector does not."""

import numpy as np
from icg.checkpoints import SHIPPED
from icg.data.bank import AXES, Bank
from icg.train.starter.encoded_users import UNCLEAR, EncodedUsers


def bank_and_covers(count: int = 1200) -> tuple[Bank, np.ndarray]:
    """Covers whose embeddings tell their looks: a direction for each value of each axis, and noise."""
    rng = np.random.default_rng(0)
    look = np.stack([rng.integers(0, len(axis), count) for axis in AXES], 1)
    directions = [rng.standard_normal((len(axis), 64)) for axis in AXES]
    covers = sum(way[look[:, n]] for n, way in enumerate(directions)) + rng.standard_normal((count, 64)) * 0.3
    covers /= np.linalg.norm(covers, axis=1, keepdims=True)
    bank = Bank(np.zeros((count, 1, 1, 3), np.uint8), np.zeros(count, np.int64), look)
    return bank, covers.astype(np.float32)


def test_users_are_drawn_for_the_look_that_their_embedding_tells() -> None:
    bank, covers = bank_and_covers()
    crowd = EncodedUsers(SHIPPED / "users", bank, covers, np.zeros(len(covers), int), 1500, 0)
    lengths = np.linalg.norm(crowd.users, axis=1)
    assert crowd.users.shape == (1500, 64)
    assert (lengths <= 1 + 1e-5).all()
    assert np.median(lengths) > 0.5
    right = (crowd.known == crowd.favourite).mean(0)
    swapped = (np.roll(crowd.known, 1, axis=0) == crowd.favourite).mean(0)
    assert (right[1:3] > 3 * swapped[1:3]).all(), (right, swapped)
    rng = np.random.default_rng(1)
    wish = np.stack([rng.integers(0, len(axis), 6000) for axis in AXES], 1)
    users, look = crowd.draw(wish, rng)
    assert (look[:, 1:3] == wish[:, 1:3]).all()
    distinct = len(np.unique(users[users.any(1)], axis=0))
    assert 0.3 * 1500 < distinct <= (1 - UNCLEAR) * 1500, "users of two minds are left out"
