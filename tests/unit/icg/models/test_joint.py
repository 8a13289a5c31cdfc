"""Embeddings and rewards are unit rows and numbers within their ranges; users are weighted means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from icg.brief import Brief
from icg.errors import CheckpointError, IcgError
from icg.models.joint import JointEmbedding
from icg.models.space import FittedSpace
from icg.rewards.base import Reward
from icg.rewards.mix import Mix
from icg.starter import Starter
from icg.users.histories import user_embedding
from PIL import Image

IMAGES = [Image.new("RGB", (40, 60), c) for c in ("red", "blue", "white")]


def test_rows_are_unit_and_order_does_not_matter(small: Starter) -> None:
    e = small.embedding
    for rows in (e.images(IMAGES), e.covers(IMAGES), e.texts(["red circle", "blue square", "a blue " + "x" * 500])):
        assert rows.shape == (3, 64)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(e.covers(IMAGES)[::-1], e.covers(IMAGES[::-1]), atol=1e-5)
    np.testing.assert_allclose(e.texts(["a longer title here", "boat"])[1], e.texts(["boat"])[0], atol=1e-5)
    assert e.images([]).shape == e.texts([]).shape == (0, 64)


def test_a_title_without_known_words_matches_nothing(small: Starter) -> None:
    assert not small.embedding.texts(["qqzzx", "42", ""]).any()


def test_a_missing_checkpoint_and_a_missing_projection_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone': no such folder"):
        JointEmbedding.from_pretrained(tmp_path / "gone")
    (tmp_path / "space").mkdir()
    with pytest.raises(CheckpointError, match=r"projection.safetensors is missing"):
        JointEmbedding.from_pretrained(tmp_path)


def test_a_checkpoint_without_a_space_reads_covers_by_the_shipped_one(tmp_path: Path) -> None:
    embedding = JointEmbedding.from_pretrained(tmp_path)
    np.testing.assert_allclose(np.linalg.norm(embedding.covers(IMAGES), axis=1), 1, atol=1e-5)
    assert isinstance(embedding.space, FittedSpace)


def test_rewards_stay_in_range_and_mix_returns_its_parts(small: Starter) -> None:
    user = small.embedding.covers(IMAGES[:1])[0]
    briefs = [Brief("red circle", user_embedding=user), Brief("blue square", user_embedding=user), Brief("white")]
    for reward in small.rewards.values():
        assert isinstance(reward, Reward)
        values = reward(IMAGES, briefs)
        assert values.shape == (3,)
        assert (values >= reward.range[0]).all()
        assert (values <= reward.range[1]).all()
        with pytest.raises(IcgError, match="images=3 with briefs=1"):
            reward(IMAGES, briefs[:1])
    preference = small.rewards["preference"](IMAGES, briefs)
    assert preference[0] == pytest.approx(1, abs=1e-4)
    assert preference[2] == 0
    mixed = Mix(small.rewards, {"preference": 2.0})(IMAGES, briefs)
    assert set(mixed.parts) == {"preference"}
    assert mixed.total.argmax() == preference.argmax()
    with pytest.raises(IcgError, match="colour"):
        Mix(small.rewards, {"colour": 1.0})


def test_user_embedding() -> None:
    covers = np.eye(3, 64, dtype=np.float32)
    user = user_embedding(covers, np.array([2.0, 1.0, -1.0]))
    assert np.linalg.norm(user) == pytest.approx(1)
    assert user[0] > user[1] > 0 > user[2]
    assert not user_embedding(covers, np.zeros(3)).any()
    assert not user_embedding(np.zeros((0, 64)), np.zeros(0)).any()
    with pytest.raises(IcgError, match="NaN"):
        user_embedding(covers, np.array([np.nan, 0, 0]))
    with pytest.raises(IcgError, match="allowed"):
        user_embedding(covers, np.ones(2))
