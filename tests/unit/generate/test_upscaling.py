"""Kept covers are made larger: those alone, with all they say of themselves, and one that cannot be is kept as it was drawn."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from eyecatch.config import MakingConfig
from eyecatch.core.errors import EyecatchError, InvalidInput, Unavailable
from eyecatch.core.generator import GeneratedCover, Upscaler
from eyecatch.core.types import Cover, Item, Job
from eyecatch.generate.making import Maker, MakerOptions
from eyecatch.generators.upscaling import LocalUpscaler
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.wiring.maker import maker, upscaler
from icg import starter
from icg.models.upscale import SHIPPED
from icg.provenance import read, to_png
from PIL import Image
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

from tests.fakes import FakeGenerator
from tests.unit.generate.test_making import SCORING, Judged

PROVENANCE = {"model": "m", "adapter": "a", "seed": 7, "steps": 8, "brief_digest": "d"}


def generated_cover(image: bytes, side: int = 32) -> GeneratedCover:
    embedding = np.zeros(64, np.float32)
    return GeneratedCover(image, "png", side, side, embedding, {"relevance": 0.5}, "m", "a", 7, 8, "d")


def small(side: int = 32) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side // 4, side // 4, 3), np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def checkpoint(folder: Path, upscale: int = 2) -> Path:
    torch.manual_seed(0)
    shape = {"embed_dim": 12, "depths": [1], "num_heads": [2], "mlp_ratio": 2.0, "image_size": 16}
    Swin2SRForImageSuperResolution(
        Swin2SRConfig(**shape, upscale=upscale, upsampler="pixelshuffledirect")
    ).save_pretrained(folder)
    return folder


@dataclass
class Doubling:
    """Notes what it is given; refuses the seeds of `broken`."""

    broken: dict[int, EyecatchError]
    calls: list[int]

    async def upscale(self, cover: GeneratedCover, picture: bytes = b"") -> GeneratedCover:
        self.calls.append(cover.seed)
        if cover.seed in self.broken:
            raise self.broken[cover.seed]
        return replace(
            cover,
            image=cover.image + b"twice",
            width=2 * cover.width,
            height=2 * cover.height,
        )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    result = SqliteStore.open(tmp_path)
    await result.catalog.upsert_items([Item("a", "A")])
    yield result
    result.close()


async def make(
    store: SqliteStore, folder: Path, generator: FakeGenerator, larger: Upscaler, count: int, draws: int
) -> tuple[list[Cover], FsspecBlobs]:
    blobs = FsspecBlobs(str(folder / "blobs"))
    maker = Maker(store.catalog, blobs, generator, lambda *_: None, MakerOptions(SCORING, draws), upscaler=larger)
    return await maker.make(Job("j", "k", "a", count=count, seed=10), lambda _: None), blobs


async def test_only_winners_are_enlarged(store: SqliteStore, tmp_path: Path) -> None:
    larger = Doubling({}, [])
    covers, blobs = await make(store, tmp_path, Judged(relevance={11: 0.9, 14: 0.8}), larger, 2, 3)
    assert larger.calls == [11, 14], "of six that were drawn"
    assert [(c.provenance.seed, c.width, c.height) for c in covers] == [(11, 128, 128), (14, 128, 128)]
    assert [(await blobs.get(c.uri)).endswith(b"twice") for c in covers] == [True, True]
    stored = (await store.catalog.pools(["a"]))["a"]
    assert {(c.id, c.width) for c in stored} == {(c.id, 128) for c in covers}


@pytest.mark.parametrize("error", [Unavailable("out of memory"), InvalidInput.of("cover", "7 x 7", "edges of 8")])
async def test_what_cannot_be_enlarged_is_kept_as_drawn(
    store: SqliteStore, tmp_path: Path, error: EyecatchError, capsys: pytest.CaptureFixture[str]
) -> None:
    covers, blobs = await make(store, tmp_path, FakeGenerator(), Doubling({11: error}, []), 3, 1)
    assert [(c.provenance.seed, c.width) for c in covers] == [(10, 128), (11, 64), (12, 128)]
    assert (await blobs.get(covers[1].uri)).startswith(b"\x89PNG")
    assert not (await blobs.get(covers[1].uri)).endswith(b"twice")
    output = capsys.readouterr().out
    assert output.count("not_upscaled") == 1
    assert str(error) in output


async def test_the_items_own_picture_keeps_its_own_pixels(tmp_path: Path) -> None:
    """It was reduced to half for the small cover; twice as large, the cover shows it as it is."""
    rng = np.random.default_rng(0)
    subject = np.full((64, 64, 4), 255, np.uint8)
    subject[..., :3] = rng.integers(0, 256, (64, 64, 3))
    canvas = np.zeros((80, 80, 4), np.uint8)
    canvas[8:72, 8:72] = subject
    picture = io.BytesIO()
    Image.fromarray(canvas).save(picture, "PNG")
    cover = small().resize((64, 64))
    placed = to_png(cover, {**PROVENANCE, "place": [0.5, 0.5, 0.5]})
    larger = LocalUpscaler(2, str(checkpoint(tmp_path / "double")))
    result = await larger.upscale(generated_cover(placed, 64), picture.getvalue())
    shown = np.asarray(Image.open(io.BytesIO(result.image)))
    assert shown.shape == (128, 128, 3)
    assert (shown[32:96, 32:96] == subject[..., :3]).all()
    for nothing in (b"", picture.getvalue()):
        unplaced = generated_cover(to_png(cover, PROVENANCE), 64) if nothing else generated_cover(placed, 64)
        as_drawn = np.asarray(Image.open(io.BytesIO((await larger.upscale(unplaced, nothing)).image)))
        assert (as_drawn[32:96, 32:96] != subject[..., :3]).any(), "only of a cover around the item's picture"
        assert (as_drawn[:32] == shown[:32]).all(), "the ground is the upscaler's"


async def test_a_real_one_says_all_that_the_drawing_said(tmp_path: Path) -> None:
    larger = LocalUpscaler(2, str(checkpoint(tmp_path / "double")))
    drawn_cover = generated_cover(to_png(small(), {**PROVENANCE, "product": "mug"}))
    result = await larger.upscale(drawn_cover)
    with Image.open(io.BytesIO(result.image)) as image:
        assert (image.format, image.size, image.text["Description"]) == (
            "PNG",
            (64, 64),
            "AI generated cover (Eyecatch)",
        )
    assert (result.width, result.height, result.suffix) == (64, 64, "png")
    assert read(result.image) == {"ai_generated": True, **PROVENANCE, "product": "mug", "upscaled": "2x by double"}
    assert (result.rewards, result.seed) == (drawn_cover.rewards, 7)
    assert result.embedding is drawn_cover.embedding
    out = io.BytesIO()
    small().save(out, "WEBP")
    silent = await larger.upscale(replace(generated_cover(out.getvalue()), suffix="webp"))
    assert read(silent.image) == {"ai_generated": True, **PROVENANCE, "upscaled": "2x by double"}
    assert silent.suffix == "png"


async def test_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    larger = LocalUpscaler(4)
    await larger.upscale(generated_cover(to_png(small(), {})))
    task = asyncio.create_task(larger.upscale(generated_cover(to_png(small(96), {}), 96)))
    beats = 0
    while not task.done():
        await asyncio.sleep(0)
        beats += 1
    assert beats > 10
    assert (await task).width == 384


async def test_the_shipped_one_is_named_after_the_starter() -> None:
    result = await LocalUpscaler(2).upscale(generated_cover(to_png(small(), {})))
    assert (result.width, read(result.image)["upscaled"]) == (64, f"2x by {SHIPPED}")


async def test_troubles_have_the_core_s_names(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "double")
    larger = LocalUpscaler(2, str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(Unavailable, match=r"upscaler double: .*model.safetensors is missing"):
        await larger.upscale(generated_cover(to_png(small(), {})))
    checkpoint(folder)
    with pytest.raises(InvalidInput, match="sides of 16 to"):
        await larger.upscale(generated_cover(to_png(Image.new("RGB", (7, 7)), {}), 7))
    assert (await larger.upscale(generated_cover(to_png(small(), {})))).width == 64, "and then it works"


def test_configurations_are_refused_at_once(tmp_path: Path) -> None:
    for source, message in ((starter.path() / "vlm", "a Swin2SR checkpoint"), (tmp_path, "config.json is missing")):
        with pytest.raises(InvalidInput, match=message):
            LocalUpscaler(2, str(source))
    with pytest.raises(InvalidInput, match="upscale: got 3; allowed: 1 or 2 or 4 with this upscaler"):
        LocalUpscaler(3)
    with pytest.raises(InvalidInput, match="upscale: got 9; allowed: 1 to 8"):
        MakingConfig(upscale=9)


def test_which_one_is_wired(tmp_path: Path) -> None:
    assert upscaler(MakingConfig()) is None
    chosen = upscaler(MakingConfig(upscale=4))
    assert isinstance(chosen, LocalUpscaler)
    assert chosen.name == SHIPPED
    checkpoint(tmp_path / "mine" / "upscaler")
    assert json.loads((tmp_path / "mine" / "upscaler" / "config.json").read_text())["upscale"] == 2
    (tmp_path / "mine" / "vlm").mkdir()
    part = upscaler(MakingConfig(upscale=2, checkpoint=str(tmp_path / "mine")))
    assert isinstance(part, LocalUpscaler)
    assert part.name == "mine/upscaler"
    named = upscaler(MakingConfig(upscale=2, upscaler="caidas/swin2SR-classical-sr-x2-64"))
    assert isinstance(named, LocalUpscaler)
    assert named.name == "caidas/swin2SR-classical-sr-x2-64"


async def test_the_maker_as_it_is_wired(store: SqliteStore, tmp_path: Path) -> None:
    config = MakingConfig(data_dir=str(tmp_path), upscale=4)
    blobs = FsspecBlobs(config.blobs)
    wired = maker(config, store, blobs, FakeGenerator(), lambda *_: None)
    (cover,) = await wired.make(Job("j", "k", "a", seed=3), lambda _: None)
    assert (cover.width, cover.height) == (256, 256)
    image = await blobs.get(cover.uri)
    with Image.open(io.BytesIO(image)) as picture:
        assert picture.size == (256, 256)
    assert read(image)["upscaled"] == f"4x by {SHIPPED}"
    assert cover.provenance.model == read(image)["model"] == "fake"
