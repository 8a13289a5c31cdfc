"""A checkpoint of every family, put together by `icg assemble`, is drawn at its own size by the in-process generator."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput
from eyecatch.core.generator import Brief
from eyecatch.generators.local import LocalGenerator
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.assemble import assemble
from icg.models.compatible import family_of
from icg.settings import DrawingSettings
from PIL import Image

from tests.fakes import picture
from tests.unit.icg import tiny, tiny_vlm

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")
SETTINGS = DrawingSettings(size=(64, 96), sizes=((96, 64),), steps=2, guidance=3.0, negative="dark", dtype="bfloat16")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save("qwen2_5_vl", tmp_path_factory.mktemp("vlm"))


def parts(root: Path, vlm: Path, name: str) -> dict[str, Path]:
    stock = tiny.diffusion(name)
    stock.save_pretrained(root / "diffusion")
    spec = family_of(stock).spec
    torch.manual_seed(1)
    config = AdapterConfig(tiny_vlm.WIDTH, spec.width, spec.pooled, tokens=tiny.TOKENS)
    IcgAdapter(config).save_pretrained(root / "adapter")
    return {"vlm": vlm, "diffusion": root / "diffusion", "adapter": root / "adapter"}


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)))


def brief(**knobs: object) -> Brief:
    return Brief("kettle", (), np.eye(64, dtype=np.float32)[0], seed=1, drawing=Drawing(**knobs))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", tiny.DIFFUSION)
async def test_a_checkpoint_is_drawn_as_it_says(vlm: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "mine"
    assemble(out, parts(tmp_path, vlm, name), SETTINGS)
    generator = LocalGenerator(out, device="cpu")
    try:
        (default,) = await generator.generate([brief()], lambda step, total: None)
        (other,) = await generator.generate([brief(size=(96, 64), steps=1)], lambda step, total: None)
        (plain,) = await generator.generate([brief(negative="red")], lambda step, total: None)
        with pytest.raises(InvalidInput, match="size"):
            await generator.generate([brief(size=(128, 128))], lambda step, total: None)
    finally:
        await generator.close()
    assert (default.width, default.height, default.steps) == (64, 96, 2)
    assert pixels(default.image).shape == (96, 64, 3)
    assert (other.width, other.height, other.steps) == (96, 64, 1)
    same = np.array_equal(pixels(plain.image), pixels(default.image))
    assert same == (name == "flux"), (
        "other words to move away from; its denoiser takes guidance, and draws no row for them"
    )
    assert np.isclose(np.linalg.norm(default.embedding), 1, atol=1e-5)


async def test_a_catalogue_is_imported_beside_a_model_that_is_not_read(vlm: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    assemble(out, parts(tmp_path, vlm, "sd15"), SETTINGS)
    shutil.rmtree(tmp_path / "diffusion")
    generator = LocalGenerator(out)
    try:
        (score,) = await generator.score([picture("red")], ["kettle"])
    finally:
        await generator.close()
    assert "relevance" in score.rewards
