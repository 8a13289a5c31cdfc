"""The in-process generator on a checkpoint whose autoencoder reads no covers, and in a fitted space."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from eyecatch.core.drawing import Drawing
from eyecatch.core.ports import Brief
from eyecatch.generators.local import LocalGenerator
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.models.families import family_of

from tests.fakes import picture
from tests.unit.icg import tiny, tiny_vlm


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vlm/, diffusion/ of Stable Diffusion 1.5's classes with an AutoencoderKL, and adapter/: no joint/ and no dual/."""
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


async def test_a_user_of_a_fitted_space_is_nobody_to_an_adapter_of_another(checkpoint: Path) -> None:
    from icg.checkpoints import FITTED

    shutil.copytree(FITTED, checkpoint / "space", dirs_exist_ok=True)
    user, covers = np.eye(64, dtype=np.float32)[0], {}
    for name, space in (("own", None), ("fitted", FITTED)):
        generator = LocalGenerator(checkpoint, space=space)
        try:
            for who, row in (("user", user), ("nobody", np.zeros(64, np.float32))):
                (covers[name, who],) = await generator.generate([brief(row)], lambda step, total: None)
        finally:
            await generator.close()
    assert covers["fitted", "user"].image == covers["fitted", "nobody"].image
    assert covers["fitted", "nobody"].image == covers["own", "nobody"].image
