"""Connector pre-training on a catalogue: it learns, resumes exactly, and leaves an adapter that draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from icg import starter
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.brief import Brief
from icg.check import check
from icg.data.behaviour import CLICK, DISLIKE, IMPRESSION, LIKE, Log
from icg.data.buckets import Buckets
from icg.data.catalogue import Catalogue, RowReport
from icg.data.precompute import Latents, PreparedExample, Readings, prepare, show
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError, IcgError
from icg.models.compatible import family_of
from icg.models.families import cast
from icg.train.connector import recipe as command
from icg.train.connector import samples
from icg.train.connector.pretraining import (
    CONNECTOR,
    TOKENS,
    ConnectorConfig,
    ConnectorRun,
    effective_rank,
    latent_loss,
    new_adapter,
    standardise,
)
from icg.train.connector.source import ConnectorSource, CoverUsers, by_vlm, precomputed
from icg.train.loop import Fit, train
from icg.train.throughput import SKIPPED, Speed, ceiling, flop_counter
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from tests.unit.icg import tiny

Open = Callable[[str], tuple[Any, Any]]
FIT = Fit(steps=6, lr=3e-3, batch=3, warmup=1, save_every=3, ema=0.9)
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


def shop(folder: Path, count: int = 8) -> Path:
    folder.mkdir()
    hues = ("red", "green", "blue", "white", "black", "orange", "gray", "pink")
    for n in range(count):
        Image.new("RGB", ((60, 60), (40, 90))[n % 2], hues[n % 8]).save(folder / f"{n}.png")
    rows = "".join(f"{n},{hues[n % 8]} thing,{n}.png\n" for n in range(count))
    (folder / "items.csv").write_text("id,title,image\n" + rows)
    return folder


class Pair:
    """A tiny VLM and a tiny diffusion family with a prepared shop."""

    def __init__(self, folder: Path, open_vlm: Open, drawing: str = "sd15") -> None:
        (self.vlm, self.processor), self.diffusion = open_vlm("llava"), tiny.diffusion(drawing)
        self.family, report = family_of(self.diffusion), RowReport()
        examples = list(Catalogue.open(shop(folder / "shop")).examples(report))
        self.adapter = new_adapter(self.vlm, self.diffusion, 0, tokens=tiny.TOKENS, layers=1)
        standardise(self.adapter, self.vlm, self.processor, [(e.title, show(e)) for e in examples])
        self.latents = Latents(folder / "latents", self.family, Buckets(64 * 64), "m")
        read = (self.vlm, self.processor, self.adapter, "m")
        self.with_cover, self.title_only = (
            Readings(folder / "seen", *read),
            Readings(folder / "said", *read, shown=False),
        )
        self.prepared = prepare(examples, (self.latents, self.with_cover, self.title_only), report)

    def recipe(self, config: ConnectorConfig, among: list[PreparedExample] | None = None) -> ConnectorRun:
        torch.manual_seed(0)
        adapter = IcgAdapter(self.adapter.config)
        adapter.load_state_dict(self.adapter.state_dict())
        read = by_vlm(self.vlm, self.processor, adapter)
        if config.stage == CONNECTOR:
            read = precomputed(self.with_cover.store, self.title_only.store)
        source = ConnectorSource(among or self.prepared, self.latents.store, read, None, FIT.batch, 0)
        return ConnectorRun(self.family, adapter, Accelerator(cpu=True), source, source, config)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, vlm_of: Open) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"), vlm_of)


@pytest.mark.parametrize("stage", [TOKENS, CONNECTOR])
def test_an_interrupted_run_ends_where_a_straight_one_does(pair: Pair, tmp_path: Path, stage: str) -> None:
    config = ConnectorConfig(stage, accumulate=2, steps=2, columns=2)
    whole, halves = pair.recipe(config), pair.recipe(config)
    straight = whole.run(tmp_path / "whole", FIT)
    halves.run(tmp_path / "halves", FIT, until=3)
    resumed = pair.recipe(config)
    again = resumed.run(tmp_path / "halves", FIT)
    assert (again["loss"], again["validation"]) == (straight["loss"], straight["validation"])
    for name, value in whole.adapter.state_dict().items():
        assert torch.equal(resumed.adapter.state_dict()[name], value), name
    start = pair.adapter.state_dict()
    moved = {name.split(".")[0] for name, v in whole.adapter.state_dict().items() if not torch.equal(v, start[name])}
    assert moved == {"connector", "nothing"} | ({"meta_tokens"} if stage == TOKENS else set())
    with pytest.raises(CheckpointError, match="allowed: the same, or a new folder"):
        pair.recipe(ConnectorConfig(stage)).run(tmp_path / "whole", FIT)


def test_training_lowers_the_loss_of_held_out_noise(pair: Pair, tmp_path: Path) -> None:
    recipe = pair.recipe(ConnectorConfig(CONNECTOR, drop_all=0.0, drop_picture=0.0, steps=1, columns=1))
    before = recipe.validation()
    assert recipe.validation() == before
    losses = recipe.run(tmp_path, Fit(steps=60, lr=3e-2, batch=8, warmup=2, save_every=60))
    assert losses["validation"] < before - 0.005
    assert losses["examples_per_second"] > 0


def test_precomputed_readings_equal_the_vlms(pair: Pair) -> None:
    shown = np.array([True, False, True])
    expected = by_vlm(pair.vlm, pair.processor, pair.adapter)(pair.prepared[:3], shown)
    stored = precomputed(pair.with_cover.store, pair.title_only.store)(pair.prepared[:3], shown)
    torch.testing.assert_close(stored, expected, atol=5e-3, rtol=5e-3)
    assert not torch.allclose(expected[0], expected[2], atol=0.1)


def test_an_untrained_user_path_changes_no_cover(pair: Pair) -> None:
    items = torch.randn(2, tiny.TOKENS, pair.adapter.config.vlm)
    users = torch.nn.functional.normalize(torch.randn(2, 64), dim=-1)
    assert torch.equal(pair.adapter(items, users)[0], pair.adapter(items, users * 0)[0])


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3", "flux"])
def test_samples_are_the_covers_of_the_pipeline(vlm_of: Open, name: str) -> None:
    vlm, processor = vlm_of("llava")
    stock = tiny.diffusion(name)
    pipeline = CoverPipeline(vlm, processor, stock, new_adapter(vlm, stock, 0, tokens=tiny.TOKENS, layers=1))
    briefs = [Brief(title, seed=n, steps=3, guidance=2.0, size=(64, 96)) for n, title in enumerate("ab")]
    with torch.no_grad():
        items = torch.cat([pipeline.item(brief) for brief in briefs])
    images = samples.draw(pipeline.family, pipeline.adapter, items, torch.zeros(2, 64), (64, 96), 3, 2.0)
    covers = np.stack([np.asarray(cover, int) for cover in pipeline(briefs)])
    assert np.abs(covers - images).max() <= 1


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_every_family_learns_in_mixed_precision(name: str) -> None:
    stock = tiny.diffusion(name)
    family = family_of(stock)
    cast(family.denoiser.requires_grad_(False), torch.bfloat16)
    assert torch.bfloat16 in {weight.dtype for weight in family.denoiser.parameters()}
    adapter = IcgAdapter(AdapterConfig(32, family.spec.width, family.spec.pooled, tokens=tiny.TOKENS))
    torch.manual_seed(0)
    clean, items = torch.randn(2, *family.shape((64, 64))), torch.randn(2, tiny.TOKENS, 32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = latent_loss(family, adapter, stock.scheduler, clean, items, torch.zeros(2, 64))
        images = samples.draw(family, adapter, items, torch.zeros(2, 64), (64, 64), 2, 2.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert adapter.connector.out[0].weight.grad.abs().sum() > 0
    assert images.shape == (2, 64, 64, 3)


def test_a_user_is_encoded_from_their_other_likes() -> None:
    rows = [(0, 0, LIKE), (0, 1, CLICK), (0, 2, IMPRESSION), (0, 3, LIKE), (1, 1, DISLIKE), (1, 4, LIKE)]
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    zeros = np.zeros(len(rows), int)
    log = Log(columns[0], columns[1], columns[2], zeros, np.arange(len(rows)), zeros, zeros)
    looks = np.eye(5, 64, dtype=np.float32)
    tastes = CoverUsers(log, looks, item=np.array([0, 1, 2, 0, 4]))
    users = tastes.draw(np.array([0, 1, 2, 4]), np.random.default_rng(0))
    assert users[0].argmax() == 1, "covers of the same item are left out"
    assert np.flatnonzero(users[0]).tolist() == [1]
    assert np.flatnonzero(users[1]).tolist() == [0, 3]
    assert np.linalg.norm(users[1]) == pytest.approx(1)
    assert not users[2:].any(), "no user engaged with it, or none with anything else"


def test_batches_may_be_taken_in_parts(tmp_path: Path) -> None:
    data = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))

    def fitted(name: str, accumulate: int) -> Tensor:
        torch.manual_seed(0)
        model, part = torch.nn.Linear(4, 1), 8 // accumulate

        def loss(number: int, _: np.random.Generator) -> dict[str, Tensor]:
            rows = data[number % accumulate * part :][:part]
            return {"loss": (model(rows) - 1).square().mean()}

        train(tmp_path / name, model, Fit(5, 0.1, part, warmup=1), loss, accumulate=accumulate)
        return model.weight.detach()

    torch.testing.assert_close(fitted("parts", 4), fitted("whole", 1))


def test_speed_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, rows = torch.nn.Linear(32, 16, bias=False), torch.randn(8, 32, requires_grad=True)
    with flop_counter() as counter:
        layer(rows).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 8 * 32 * 16
    assert ceiling(torch.device("cpu"), torch.float32, 64, 0.01) > 1e6
    speed, clock = Speed(torch.device("cpu")), iter([10.0, 14.0])
    monkeypatch.setattr(speed, "_now", lambda: next(clock))
    for n in range(SKIPPED + 2):
        speed.count(100 if n < SKIPPED else 6)
    speed.stop()
    assert speed.rate == 12 / 4


def test_the_command_of_the_docs_leaves_an_adapter_that_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--smoke", "--stage", "connector", "--out", str(tmp_path / "run")]
    command.main(arguments)
    output = json.loads(capsys.readouterr().out.splitlines()[-1])
    root, out = starter.path(), tmp_path / "run"
    assert check(root / "vlm", root / "diffusion", out / "adapter", size=(96, 96)).tokens == 8
    config = json.loads((out / "config.json").read_text())
    assert (config["config"]["stage"], config["fit"]["steps"]) == ("connector", 12)
    assert config["config"]["made_from"]["vlm"] == str(root / "vlm")
    logged = EventAccumulator(str(out / "tensorboard" / "held-out")).Reload()
    assert [event.step for event in logged.Scalars("loss")] == [6, 12]
    assert logged.Images("samples")[0].height >= 2 * 80
    for part in ("vlm", "diffusion"):
        (out / part).symlink_to(root / part)
    pipeline = CoverPipeline.from_pretrained(out)
    user = np.eye(64, dtype=np.float32)[0]
    covers = pipeline([Brief("red circle", steps=2), Brief("red circle", user_embedding=user, steps=2)])
    assert covers[0].size == (128, 128)
    start = IcgAdapter.from_pretrained(out / "start").state_dict()
    moved = {
        name.split(".")[0] for name, v in pipeline.adapter.state_dict().items() if (v - start[name]).abs().max() > 1e-3
    }
    assert {"connector", "refiner"} <= moved
    written = sorted((tmp_path / "precomputed").rglob("*.safetensors"))
    stamps = [path.stat().st_mtime_ns for path in written]
    command.main(arguments)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["validation"] == output["validation"]
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "precomputed").rglob("*.safetensors"))] == stamps


def test_an_untrainable_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(IcgError, match="stage='all'; allowed: tokens, connector"):
        ConnectorConfig("all")
    with pytest.raises(IcgError, match=r"drop_user=2; allowed: 0\.\.1"):
        ConnectorConfig(drop_user=2)
    folders = {"vlm": starter.path() / "vlm", "diffusion": starter.path() / "diffusion", "data": tmp_path}
    arguments = [text for name, folder in folders.items() for text in (f"--{name}", str(folder))]
    with pytest.raises(IcgError, match="no table of items; allowed: a folder with items"):
        command.main([*arguments, "--out", str(tmp_path / "run")])


def test_the_effective_rank_counts_different_tokens() -> None:
    apart = torch.eye(8)[None, :4]
    assert effective_rank(apart) == pytest.approx(4.0, abs=1e-4)
    assert effective_rank(torch.ones(2, 4, 8)) == pytest.approx(1.0, abs=1e-3)
    assert effective_rank(torch.cat([apart, torch.ones(1, 4, 8)])) == pytest.approx(2.5, abs=1e-3)
