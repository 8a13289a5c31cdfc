"""The in-process generator on a checkpoint whose autoencoder reads no covers, and in a fitted space."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from eyecatch.core.drawing import Drawing
from eyecatch.core.generator import Brief
from eyecatch.generators.local import LocalGenerator
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.checkpoints import SHIPPED, SPACE
from icg.models.compatible import family_of
from icg.users.crossing import Crossing
from icg.users.numpy_encoder import cover_space

from tests.fakes import picture
from tests.spaces import another_space
from tests.unit.icg import tiny, tiny_vlm


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vlm/, diffusion/ of Stable Diffusion 1.5's classes with an AutoencoderKL, and adapter/: no space/ and no dual/."""
    root = tmp_path_factory.mktemp("sd15")
    shutil.copytree(tiny_vlm.save("smolvlm", tmp_path_factory.mktemp("vlm")), root / "vlm")
    stock = tiny.diffusion("sd15")
    stock.save_pretrained(root / "diffusion")
    spec = family_of(stock).spec
    torch.manual_seed(1)
    IcgAdapter(AdapterConfig(tiny_vlm.WIDTH, spec.width, spec.pooled, tokens=tiny.TOKENS)).save_pretrained(
        root / "adapter"
    )
    return root


def brief(user: np.ndarray) -> Brief:
    return Brief("kettle", (), user, seed=1, drawing=Drawing(steps=1))


async def test_covers_of_an_autoencoder_kl_are_drawn_and_embedded(checkpoint: Path) -> None:
    generator = LocalGenerator(checkpoint)
    try:
        (cover,) = await generator.generate([brief(np.zeros(64, np.float32))], lambda step, total: None)
        (score,) = await generator.score([picture("red")], ["kettle"])
    finally:
        await generator.close()
    assert cover.image.startswith(b"\x89PNG")
    for row in (cover.embedding, score.embedding):
        assert np.isclose(np.linalg.norm(row), 1, atol=1e-5)
    assert "relevance" in score.rewards


async def image_for(checkpoint: Path, space: Path | None, user: np.ndarray) -> bytes:
    generator = LocalGenerator(checkpoint, space=space)
    try:
        (cover,) = await generator.generate([brief(user)], lambda step, total: None)
    finally:
        await generator.close()
    return cover.image


async def test_covers_are_drawn_for_users_of_a_fitted_space_as_far_as_it_has_a_map_to_the_adapters_own(
    checkpoint: Path, tmp_path: Path
) -> None:
    user, nobody = np.eye(64, dtype=np.float32)[0], np.zeros(64, np.float32)
    own, other = checkpoint / "space", another_space(tmp_path / "other")
    shutil.copytree(SHIPPED / SPACE, own)

    unpersonal = await image_for(checkpoint, None, nobody)
    personal = await image_for(checkpoint, None, user)
    assert personal != unpersonal
    assert await image_for(checkpoint, own, user) == personal, "the same space, named by the caller"
    assert await image_for(checkpoint, other, np.roll(user, 1)) == unpersonal, "no map"

    rows = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    crossing = Crossing.fit(np.roll(rows, 1, 1), rows)
    crossing.save(other, cover_space(checkpoint))
    assert await image_for(checkpoint, other, np.roll(user, 1)) != unpersonal
    assert np.allclose(crossing(np.roll(user, 1)), user, atol=0.01)

    crossing.save(other, cover_space(checkpoint) - 1)
    assert await image_for(checkpoint, other, np.roll(user, 1)) == unpersonal, "a map to another checkpoint's space"
