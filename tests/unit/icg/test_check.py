"""`icg check` agrees with loading a pair; both refuse what cannot be used by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.brief import Brief
from icg.check import CheckReport, check
from icg.cli import app
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, CheckpointError
from icg.models import vlm as reading
from icg.models.compatible import family_of
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.unit.icg import tiny, tiny_vlm

SIZE = (64, 96)
FAMILY = {"sd15": "stablediffusion", "sd21": "stablediffusion", "sdxl": "stablediffusionxl", "sd3": "stablediffusion3"}
FAMILY |= {name: name for name in ("flux", "pixart", "sana")}
Folder = Callable[[str], Path]
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


@pytest.fixture(scope="module")
def diffusions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of diffusers folders, one a family."""
    root = tmp_path_factory.mktemp("diffusion")
    for name in tiny.DIFFUSION:
        tiny.diffusion(name).save_pretrained(root / name)
    return root


@pytest.fixture
def root(vlm_folder: Folder, diffusions: Path, tmp_path: Path) -> Path:
    """vlm/, diffusion/ and adapter/ that fit, to be broken."""
    shutil.copytree(vlm_folder("qwen2_5_vl"), tmp_path / "vlm")
    shutil.copytree(diffusions / "sd3", tmp_path / "diffusion")
    config = AdapterConfig(tiny_vlm.WIDTH, 24, 20, tokens=5, reads="qwen2_5_vl", draws="SD3Transformer2DModel")
    IcgAdapter(config).save_pretrained(tmp_path / "adapter")
    return tmp_path


def numbers(*models: Any) -> list[int]:
    return [sum(p.numel() for p in model.parameters()) for model in models]


def of(report: CheckReport) -> list[int]:
    return [part.parameters for part in report.parts]


@pytest.mark.parametrize("name", tiny_vlm.VLM)
def test_a_vlm_is_described_as_loading_shows_it(
    vlm_of: Callable[[str], tuple[Any, Any]], vlm_folder: Folder, diffusions: Path, name: str
) -> None:
    report, model = check(vlm_folder(name), diffusions / "sana", size=SIZE), vlm_of(name)[0]
    assert (report.reads, report.hidden) == (model.config.model_type, tiny_vlm.WIDTH)
    assert of(report)[:1] == numbers(model)
    assert (report.parts[0].name, report.parts[0].kind) == ("vlm", type(model).__name__)


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_a_diffusion_model_is_described_as_loading_shows_it(vlm_folder: Folder, diffusions: Path, name: str) -> None:
    report, family = (
        check(vlm_folder("llava"), diffusions / name, tokens=9, layers=3, size=SIZE),
        family_of(tiny.diffusion(name)),
    )
    spec = family.spec
    assert (report.tokens, report.width, report.pooled) == (9, spec.width, spec.pooled)
    assert report.draws == type(family.denoiser).__name__
    assert report.family.lower() == FAMILY[name]
    assert (report.latent, report.multiple) == (family.shape(SIZE), family.multiple)
    adapter = IcgAdapter(AdapterConfig(tiny_vlm.WIDTH, spec.width, spec.pooled, tokens=9, layers=3))
    assert of(report)[1:] == numbers(family.denoiser, family.vae, adapter)
    assert (report.parts[1].fp32, report.parts[1].bf16) == (4 * of(report)[1], 2 * of(report)[1])


def test_no_weights_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = check(root / "vlm", root / "diffusion", root / "adapter", size=SIZE)
    for path in root.rglob("*.safetensors"):
        size = path.stat().st_size
        head = path.read_bytes()[:8]
        path.write_bytes(path.read_bytes()[: 8 + int.from_bytes(head, "little")])
        os.truncate(path, size)  # the same header before a sparse file
    monkeypatch.setattr(safetensors, "safe_open", None)
    assert check(root / "vlm", root / "diffusion", root / "adapter", size=SIZE) == expected
    assert expected.tokens == 5


def test_shards_are_one_model(root: Path) -> None:
    expected = check(root / "vlm", root / "diffusion", size=SIZE)
    model, processor = reading.load(root / "vlm")
    shutil.rmtree(root / "vlm")
    model.save_pretrained(root / "vlm", max_shard_size="60KB")
    processor.save_pretrained(root / "vlm")
    shards = sorted((root / "vlm").glob("model-*.safetensors"))
    assert len(shards) > 1
    assert check(root / "vlm", root / "diffusion", size=SIZE) == expected
    assert numbers(reading.load(root / "vlm")[0]) == of(expected)[:1]
    shards[0].unlink()
    for refusing in (lambda: check(root / "vlm", root / "diffusion"), lambda: reading.load(root / "vlm")):
        with pytest.raises(CheckpointError, match=f"{shards[0].name} is missing; allowed: every shard"):
            refusing()


def pickled(folder: Path) -> None:
    """Pickled weights, which run code when they are opened."""
    for path in folder.glob("*.safetensors"):
        torch.save(load_file(path), path.with_suffix(".bin"))
        path.unlink()


def stated(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def without(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(max(tensors, key=lambda name: tensors[name].numel()))
    save_file(tensors, path, {"format": "pt"})


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no vlm": (lambda at: shutil.rmtree(at / "vlm"), "vlm=.*no such folder; allowed: a checkpoint folder"),
    "no diffusion": (lambda at: shutil.rmtree(at / "diffusion"), "diffusion=.*no such folder; allowed: a checkpoint"),
    "no adapter": (lambda at: shutil.rmtree(at / "adapter"), "adapter=.*no such folder; allowed: a checkpoint folder"),
    "vlm without config": (lambda at: (at / "vlm/config.json").unlink(), r"vlm=.*config\.json is missing; allowed"),
    "adapter without config": (lambda at: (at / "adapter/config.json").unlink(), r"adapter=.*config\.json is missing"),
    "diffusion without index": (
        lambda at: (at / "diffusion/model_index.json").unlink(),
        r"diffusion=.*model_index\.json is missing; allowed: a whole checkpoint folder",
    ),
    "pickled vlm": (
        lambda at: pickled(at / "vlm"),
        r"only pickled weights \(model\.bin\); allowed: model\.safetensors",
    ),
    "pickled denoiser": (
        lambda at: pickled(at / "diffusion/transformer"),
        r"diffusion transformer=.*only pickled.*; allowed: diffusion_pytorch_model\.safetensors",
    ),
    "pickled autoencoder": (lambda at: pickled(at / "diffusion/vae"), "diffusion vae=.*only pickled weights"),
    "pickled adapter": (lambda at: pickled(at / "adapter"), "adapter=.*only pickled weights"),
    "config that is no object": (
        lambda at: (at / "adapter/config.json").write_text("[]"),
        "holds a list; allowed: one",
    ),
    "config that is no JSON": (
        lambda at: (at / "adapter/config.json").write_text("{"),
        "not JSON .*; allowed: one obj",
    ),
    "unknown vlm": (lambda at: stated(at / "vlm/config.json", model_type="nobody"), "nobody.*; allowed: a .*pictures"),
    "vlm of text": (
        lambda at: (at / "vlm/config.json").write_text(json.dumps({"model_type": "llama"})),
        "; allowed: a .*reads pictures and text",
    ),
    "unknown denoiser": (
        lambda at: stated(at / "diffusion/model_index.json", transformer=["diffusers", "LuminaNextDiT2DModel"]),
        "LuminaNextDiT2DModel.*; allowed: .*SD3Transformer2DModel",
    ),
    "incomplete vlm": (
        lambda at: without(at / "vlm/model.safetensors"),
        "; allowed: .*as in config|; allowed: all weights",
    ),
    "cut off": (lambda at: os.truncate(at / "vlm/model.safetensors", 60_000), "header says .*; allowed: a whole file"),
    "no safetensors at all": (
        lambda at: (at / "adapter/model.safetensors").write_bytes(b"\x80\x04" * 99),
        "header of .* bytes in a file of 198; allowed: safetensors",
    ),
    "adapter for another width": (
        lambda at: IcgAdapter(AdapterConfig(48, 24, 20)).save_pretrained(at / "adapter"),
        "adapter vlm width=48; allowed: 32, the width of this VLM",
    ),
    "adapter for another denoiser": (
        lambda at: IcgAdapter(AdapterConfig(32, 40, 20)).save_pretrained(at / "adapter"),
        "adapter caption width=40; allowed: 24, of this denoiser",
    ),
    "adapter for another pooled width": (
        lambda at: IcgAdapter(AdapterConfig(32, 24)).save_pretrained(at / "adapter"),
        "adapter pooled width=0; allowed: 20, of this denoiser",
    ),
    "adapter for another VLM of that width": (
        lambda at: stated(at / "adapter/config.json", reads="qwen3_vl"),
        "adapter reads=qwen3_vl; allowed: qwen2_5_vl, the family of this VLM",
    ),
    "adapter for another denoiser of those widths": (
        lambda at: stated(at / "adapter/config.json", draws="FluxTransformer2DModel"),
        "adapter draws=FluxTransformer2DModel; allowed: SD3Transformer2DModel, the class of this denoiser",
    ),
    "adapter unlike its config": (
        lambda at: stated(at / "adapter/config.json", tokens=6),
        r"is of shape \[5, 32\]; allowed: \[6, 32\]|does not match its config\.json",
    ),
    "adapter of a later version": (
        lambda at: stated(at / "adapter/config.json", taste=1),
        r"config\.json says \['taste'\]; allowed: audience, backdrops, caption, drafts, draws",
    ),
    "adapter without widths": (
        lambda at: (at / "adapter/config.json").write_text("{}"),
        r"config\.json lacks \['caption', 'vlm'\]; allowed",
    ),
    "adapter of no tokens": (
        lambda at: stated(at / "adapter/config.json", tokens=0),
        "adapter tokens=0; allowed: a whole number from 1",
    ),
    "adapter of odd heads": (
        lambda at: stated(at / "adapter/config.json", heads=5),
        "adapter heads=5; allowed: a divisor of 32",
    ),
}


@pytest.mark.parametrize("breakage", BROKEN)
def test_an_unusable_model_is_refused_by_name(root: Path, breakage: str) -> None:
    """By `icg check`, and by the pipeline that would have to load it."""
    breaking, message = BROKEN[breakage]
    breaking(root)
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        check(root / "vlm", root / "diffusion", root / "adapter", size=SIZE)
    with pytest.raises(CheckpointError, match=f"(?s){message}|; allowed: a pipeline with"):
        CoverPipeline.from_pretrained(root)


def test_a_missing_scheduler_or_class_is_refused(root: Path) -> None:
    scheduler = root / "diffusion/scheduler/scheduler_config.json"
    original = scheduler.read_text()
    scheduler.unlink()
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json is missing"):
        check(root / "vlm", root / "diffusion")
    scheduler.write_text(original)
    stated(root / "diffusion/model_index.json", vae=["diffusers", "AutoencoderOfTomorrow"])
    with pytest.raises(CheckpointError, match="AutoencoderOfTomorrow'; allowed: a class of diffusers"):
        check(root / "vlm", root / "diffusion")
    stated(root / "diffusion/model_index.json", vae=None)
    with pytest.raises(CheckpointError, match=r"vae=None; allowed: \[library, class\]"):
        check(root / "vlm", root / "diffusion")


def test_a_size_that_cannot_be_drawn_is_refused(root: Path, diffusions: Path) -> None:
    with pytest.raises(BriefError, match=r"size=\(100, 64\); allowed: \(width, height\), multiples of 16"):
        check(root / "vlm", root / "diffusion", size=(100, 64))
    tiny.autoencoder(4, levels=5).save_pretrained(root / "diffusion/vae")  # halves once more
    with pytest.raises(BriefError, match=r"size=\(48, 64\); allowed: multiples of 32 for this diffusion model"):
        check(root / "vlm", root / "diffusion", size=(48, 64))
    stated(root / "diffusion/transformer/config.json", patch_size=4)
    with pytest.raises(CheckpointError, match=r"'pos_embed\.proj\.weight' is of shape .*; allowed: \[16, 4, 4, 4\]"):
        check(root / "vlm", root / "diffusion", size=SIZE)


def test_fitting_models_draw_and_bad_users_are_refused(root: Path) -> None:
    check(root / "vlm", root / "diffusion", root / "adapter", size=SIZE)
    pipeline = CoverPipeline.from_pretrained(root)
    assert pipeline([Brief("red kettle", steps=1, size=SIZE)])[0].size == SIZE
    with pytest.raises(BriefError, match="not finite; allowed: one finite vector"):
        Brief("red kettle", user_embedding=np.full(64, np.nan, np.float32))
    with pytest.raises(BriefError, match="user_embedding width=32; allowed: 64"):
        pipeline([Brief("red kettle", user_embedding=np.zeros(32, np.float32), steps=1, size=SIZE)])
    with pytest.raises(BriefError, match="title='' without references; allowed: a title, a reference or both"):
        Brief(" ")


def test_an_adapter_between_two_models_names_them(
    vlm_of: Callable[[str], tuple[Any, Any]], root: Path, tmp_path: Path
) -> None:
    stock = tiny.diffusion("sd3")
    config = AdapterConfig.between(vlm_of("qwen3_vl")[0], stock, tokens=3)
    assert config == AdapterConfig(32, 24, 20, tokens=3, reads="qwen3_vl", draws="SD3Transformer2DModel")
    with pytest.raises(CheckpointError, match="reads=qwen3_vl; allowed: qwen2_5_vl"):
        CoverPipeline(*vlm_of("qwen2_5_vl"), stock, IcgAdapter(config))
    CoverPipeline(*vlm_of("qwen2_5_vl"), stock, IcgAdapter(replace(config, reads="", draws="")))


def test_on_the_command_line(root: Path) -> None:
    run, folders = CliRunner(), [str(root / "vlm"), str(root / "diffusion")]
    shown = run.invoke(app, ["check", *folders, "--tokens", "7", "--size", "64x96"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    for word in ("qwen2_5_vl, 32 wide", "StableDiffusion3", "7 × 24, pooled 20", "4 × 12 × 8", "together", "They fit."):
        assert word in shown.output
    known = run.invoke(app, ["check", *folders, "--adapter", str(root / "adapter"), "--size", "64x96", "--json"])
    output = json.loads(known.output)
    assert output["fits"] is True
    assert (output["tokens"], output["latent"], output["parts"][0]["bf16_bytes"]) == (
        5,
        [4, 12, 8],
        2 * output["parts"][0]["parameters"],
    )
    for more, expected in (
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--tokens", "0"], "tokens=0"),
        (["--layers", "0"], "layers=0"),
    ):
        refused = run.invoke(app, ["check", *folders, *more])
        assert (refused.exit_code, expected in refused.stderr) == (1, True)
    stated(root / "vlm/config.json", model_type="nobody")
    refused = run.invoke(app, ["check", *folders])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: vlm=")
    assert refused.stderr.count("\n") == 1
    refused = run.invoke(app, ["check", str(root / "nowhere"), str(root / "diffusion"), "--json"])
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["fits"] is False
    assert "no such folder" in json.loads(refused.stdout)["error"]


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_weights_of_a_named_precision_are_read(root: Path, variant: str) -> None:
    whole = CoverPipeline.from_pretrained(root)
    for part, stem in (
        ("diffusion/transformer", "diffusion_pytorch_model"),
        ("diffusion/vae", "diffusion_pytorch_model"),
        ("vlm", "model"),
    ):
        folder = root / part
        (folder / f"{stem}.safetensors").rename(folder / f"{stem}.{variant}.safetensors")
    assert check(root / "vlm", root / "diffusion", root / "adapter", size=SIZE).latent
    named = CoverPipeline.from_pretrained(root)
    brief = Brief("red circle", seed=1, steps=1, size=(64, 64))
    assert named([brief])[0].tobytes() == whole([brief])[0].tobytes()
    (root / "diffusion/vae" / f"diffusion_pytorch_model.{variant}.safetensors").rename(
        root / "diffusion/vae" / "diffusion_pytorch_model.safetensors"
    )
    with pytest.raises(CheckpointError, match=f"several variants .transformer/ {variant}, vae/ without one"):
        CoverPipeline.from_pretrained(root)
