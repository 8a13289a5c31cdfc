"""Every pipeline class of the installed diffusers with a denoiser of our families: drawn as the stock pipeline draws it, or refused by
`icg check` by name. Tiny random models."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.brief import Brief
from icg.check import check
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError, IcgError
from icg.models.compatible import AUTOENCODERS, FAMILIES, PIPELINES, family_of
from icg.models.stock import load_diffusion
from torch import Tensor

from tests.unit.icg import tiny, tiny_vlm

SIZE = (64, 96)
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning", "ignore:.*:DeprecationWarning")
Folder = Callable[[str], Path]
TINY = {
    "UNet2DConditionModel": "sd15",
    "SD3Transformer2DModel": "sd3",
    "FluxTransformer2DModel": "flux",
    "PixArtTransformer2DModel": "pixart",
    "SanaTransformer2DModel": "sana",
}


@cache
def classes() -> dict[str, str]:
    """Pipeline class -> the denoiser of our families that it takes, of all classes that diffusers has."""
    out = {}
    for name in dir(diffusers):
        kind = getattr(diffusers, name, None) if name.endswith("Pipeline") else None
        if not isinstance(kind, type) or not issubclass(kind, diffusers.DiffusionPipeline):
            continue
        of = inspect.signature(kind.__init__).parameters
        taken = [str(of[role].annotation) for role in ("unet", "transformer") if role in of]
        for denoiser in FAMILIES:
            if any(denoiser in words for words in taken):
                out[name] = denoiser
    return out


CLAIMED: dict[str, Callable[[], Any]] = {
    "StableDiffusionPipeline": tiny.sd15,
    "LatentConsistencyModelPipeline": tiny.lcm,
    "StableDiffusionXLPipeline": tiny.sdxl,
    "StableDiffusion3Pipeline": tiny.sd3,
    "FluxPipeline": tiny.flux,
    "PixArtAlphaPipeline": tiny.pixart_alpha,
    "PixArtSigmaPipeline": tiny.pixart,
    "SanaPipeline": tiny.sana,
}


def sana_of_scaled_times() -> Any:
    stock = tiny.sana()
    stock.transformer = diffusers.SanaTransformer2DModel.from_config(
        {**stock.transformer.config, "timestep_scale": 0.1}
    )
    return stock


def sdxl_with_statistics() -> Any:
    stock = tiny.sdxl()
    stock.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.7, 1.0, 2.0])
    return stock


def sd15_with_a_shift() -> Any:
    """Stable Diffusion's pipeline does not look at it."""
    stock = tiny.sd15()
    stock.vae.register_to_config(shift_factor=0.5)
    return stock


def sd15_with_a_tiny_autoencoder() -> Any:
    stock = tiny.sd15()
    blocks = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    stock.vae = diffusers.AutoencoderTiny(
        **blocks, num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4, latent_channels=4
    )
    return stock


def flux_without_guidance() -> Any:
    stock = tiny.flux()
    stock.transformer = diffusers.FluxTransformer2DModel.from_config(
        {**stock.transformer.config, "guidance_embeds": False}
    )
    return stock


SUPPORTED: dict[str, Callable[[], Any]] = {
    "sana, timestep_scale": sana_of_scaled_times,
    "sdxl, latents_mean and latents_std": sdxl_with_statistics,
    "sd15, shift_factor": sd15_with_a_shift,
    "sd15, AutoencoderTiny": sd15_with_a_tiny_autoencoder,
    "sd21, v prediction": tiny.sd21,
    "flux, without guidance": flux_without_guidance,
}


def make(build: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    stock = build()
    stock.set_progress_bar_config(disable=True)
    return stock


def both_pictures(vlm: tuple[Any, Any], stock: Any) -> tuple[np.ndarray, np.ndarray]:
    """Our cover and the stock pipeline's, of the same conditions and noise, each (H, W, 3) in 0..1."""
    spec = family_of(stock).spec
    torch.manual_seed(1)
    adapter = IcgAdapter(AdapterConfig(tiny_vlm.WIDTH, spec.width, spec.pooled, tokens=tiny.TOKENS)).eval()
    pipeline = CoverPipeline(*vlm, stock, adapter)
    name, family = type(stock).__name__, pipeline.family
    # Without guidance as an input, FLUX's pipeline has none at all.
    guidance = 1.0 if name == "FluxPipeline" and not family.takes_guidance else 2.5
    user = np.eye(64, dtype=np.float32)[3]
    brief = Brief("red circle", user_embedding=user, seed=5, steps=3, guidance=guidance, size=SIZE)
    mine = np.asarray(pipeline([brief])[0], np.float32) / 255
    kwargs: dict[str, Any] = pipeline.conditioning(brief)
    latents = torch.randn((1, *family.shape(SIZE)), generator=torch.Generator().manual_seed(5))
    if name.startswith(("PixArt", "Sana")):
        ones = torch.ones(kwargs["prompt_embeds"].shape[:2])
        masks = {"prompt_attention_mask": ones, "negative_prompt_attention_mask": ones, "negative_prompt": None}
        kwargs |= masks | {"use_resolution_binning": False}
    if name in (
        "FluxPipeline",
        "LatentConsistencyModelPipeline",
    ):  # guidance is an input: there is nothing to move away from
        kwargs = {key: value for key, value in kwargs.items() if not key.startswith("negative")}
    if name == "FluxPipeline":
        _, channels, h, w = latents.shape
        latents = latents.view(1, channels, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    drawing = {"guidance_scale": brief.guidance, "num_inference_steps": 3, "width": SIZE[0], "height": SIZE[1]}
    generator = torch.Generator().manual_seed(6)
    images = stock(**kwargs, **drawing, latents=latents, generator=generator, output_type="np").images
    return mine, images[0]


@pytest.mark.parametrize("name", PIPELINES)
def test_a_claimed_class_is_drawn_as_the_stock_pipeline_draws_it(
    vlm_of: Callable[[str], tuple[Any, Any]], name: str
) -> None:
    stock = make(CLAIMED[name])
    assert type(stock).__name__ == name
    mine, theirs = both_pictures(vlm_of("smolvlm"), stock)
    assert np.abs(mine - theirs).max() <= 1.01 / 255


@pytest.mark.parametrize("case", SUPPORTED)
def test_settings_of_published_models_are_drawn_as_the_stock_pipeline_draws_them(
    vlm_of: Callable[[str], tuple[Any, Any]], case: str
) -> None:
    mine, theirs = both_pictures(vlm_of("smolvlm"), make(SUPPORTED[case]))
    assert np.abs(mine - theirs).max() <= 1.01 / 255


SCHEDULERS = ("DDPMScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler")
SCHEDULERS += ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler", "TCDScheduler")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_step_as_in_the_stock_pipeline(vlm_of: Callable[[str], tuple[Any, Any]], name: str) -> None:
    """Also those that add noise, and those that call the denoiser twice a step."""
    stock = make(tiny.sd15)
    stock.scheduler = getattr(diffusers, name).from_config(stock.scheduler.config)
    mine, theirs = both_pictures(vlm_of("smolvlm"), stock)
    assert np.abs(mine - theirs).max() <= 1.01 / 255


@pytest.mark.parametrize(
    ("family", "scheduler", "settings", "message"),
    [
        (
            "sd15",
            "EDMEulerScheduler",
            {},
            "scheduler='EDMEulerScheduler'; allowed: one of flow matching, or with alphas",
        ),
        ("sana", "SCMScheduler", {}, "scheduler='SCMScheduler'; allowed: one of flow matching, or with alphas"),
        ("flux", "FlowMatchHeunDiscreteScheduler", {}, "Heun.*; allowed: one that takes sigmas"),
        ("sd15", "DDIMScheduler", {"prediction_type": "x"}, "prediction_type='x'; allowed: epsilon"),
        ("sd15", "DPMSolverSDEScheduler", {}, "torchsde"),
    ],
)
def test_other_schedulers_are_refused_by_name(
    vlm_folder: Folder,
    folders: Path,
    tmp_path: Path,
    family: str,
    scheduler: str,
    settings: dict[str, Any],
    message: str,
) -> None:
    shutil.copytree(folders / family, tmp_path / "diffusion")
    index = tmp_path / "diffusion" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"scheduler": ["diffusers", scheduler]}))
    config = {"_class_name": scheduler, **settings}
    (tmp_path / "diffusion" / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        check(vlm_folder("llava"), tmp_path / "diffusion", size=SIZE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("diffusion")
    for name in (*TINY.values(), "sdxl"):
        tiny.diffusion(name).save_pretrained(root / name)
    return root


def test_every_other_class_with_such_a_denoiser_is_refused_by_name(vlm_folder: Folder, folders: Path) -> None:
    others = {name: denoiser for name, denoiser in classes().items() if name not in PIPELINES}
    assert len(others) > 90
    assert set(PIPELINES) <= set(classes())
    for name, denoiser in others.items():
        index = folders / TINY[denoiser] / "model_index.json"
        text = index.read_text()
        index.write_text(json.dumps({**json.loads(text), "_class_name": name}))
        for refusing in (
            lambda i=index: check(vlm_folder("llava"), i.parent),
            lambda i=index: load_diffusion(i.parent),
        ):
            with pytest.raises(CheckpointError, match=f"_class_name='{name}' in model_index.json; allowed: StableDiff"):
                refusing()
        index.write_text(text)


SETTINGS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "inpainting": ("sd15", "unet", {"in_channels": 9}, "denoiser in_channels=9; allowed: 4"),
    "an edit": ("sd15", "unet", {"in_channels": 8}, "denoiser in_channels=8; allowed: 4"),
    "depth beside colours": ("sd15", "unet", {"out_channels": 8}, "denoiser out_channels=8; allowed: 4"),
    "an upscaler": ("sd15", "unet", {"num_class_embeds": 10}, "denoiser num_class_embeds=10; allowed: None"),
    "unCLIP": (
        "sd15",
        "unet",
        {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8},
        "denoiser class_embed_type='projection'; allowed: None",
    ),
    "boxes": ("sd15", "unet", {"attention_type": "gated"}, "denoiser attention_type='gated'; allowed: default"),
    "another text encoder": (
        "sd15",
        "unet",
        {"encoder_hid_dim": 8, "encoder_hid_dim_type": "text_proj"},
        "denoiser encoder_hid_dim=8; allowed: None",
    ),
    "added text": (
        "sd15",
        "unet",
        {"addition_embed_type": "text", "addition_embed_type_num_heads": 2},
        "denoiser addition_embed_type='text'; allowed: None or text_time",
    ),
    "widths by block": (
        "sd15",
        "unet",
        {"cross_attention_dim": [24, 24]},
        r"cross_attention_dim=.*; allowed: one whole",
    ),
    "sizes without room": (
        "sdxl",
        "unet",
        {"projection_class_embeddings_input_dim": 48},
        "projection_class_embeddings_input_dim=48; allowed: more than six times",
    ),
    "FLUX with a control": ("flux", "transformer", {"in_channels": 32}, "denoiser in_channels=32; allowed: 16"),
    "FLUX that fills": (
        "flux",
        "transformer",
        {"in_channels": 96, "out_channels": 16},
        "denoiser in_channels=96; allowed: 16",
    ),
    "SD3 of more channels": ("sd3", "transformer", {"in_channels": 16}, "denoiser in_channels=16; allowed: 4"),
    "PixArt that predicts more": ("pixart", "transformer", {"out_channels": 12}, "out_channels=12; allowed: 4 or 8"),
    "Sana Sprint": (
        "sana",
        "transformer",
        {"guidance_embeds": True},
        "denoiser guidance_embeds=True; allowed: None or False",
    ),
    "an autoencoder of more channels": ("sd15", "vae", {"latent_channels": 16}, "in_channels=4; allowed: 16"),
    "an autoencoder of RGB and depth": ("sd15", "vae", {"out_channels": 6}, "autoencoder out_channels=6; allowed: 3"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_the_stock_pipeline_treats_otherwise_is_refused_by_name(
    vlm_folder: Folder, folders: Path, tmp_path: Path, case: str
) -> None:
    """With weights that fit the configuration, so that nothing else is wrong."""
    family, role, setting, message = SETTINGS[case]
    shutil.copytree(folders / family, tmp_path / "diffusion")
    part = tmp_path / "diffusion" / role
    config = json.loads((part / "config.json").read_text()) | setting
    kind = getattr(diffusers, config["_class_name"])
    shutil.rmtree(part)
    kind.from_config(config).save_pretrained(part)
    with pytest.raises(CheckpointError, match=message):
        check(vlm_folder("llava"), tmp_path / "diffusion", size=SIZE)
    with pytest.raises(CheckpointError, match=message):
        family_of(load_diffusion(tmp_path / "diffusion"))


def test_another_autoencoder_and_a_refiner_are_refused_by_name(
    vlm_folder: Folder, folders: Path, tmp_path: Path
) -> None:
    shutil.copytree(folders / "sd15", tmp_path / "diffusion")
    index = tmp_path / "diffusion" / "model_index.json"
    stated = json.loads(index.read_text())
    shutil.rmtree(tmp_path / "diffusion" / "vae")
    vae = diffusers.AsymmetricAutoencoderKL(
        down_block_out_channels=(8,) * 4,
        up_block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
    )
    vae.save_pretrained(tmp_path / "diffusion" / "vae")
    index.write_text(json.dumps(stated | {"vae": ["diffusers", "AsymmetricAutoencoderKL"]}))
    with pytest.raises(
        CheckpointError, match=f"autoencoder='AsymmetricAutoencoderKL'; allowed: {' or '.join(AUTOENCODERS)}"
    ):
        check(vlm_folder("llava"), tmp_path / "diffusion")
    index.write_text(json.dumps(stated | {"requires_aesthetics_score": True}))
    with pytest.raises(CheckpointError, match="requires_aesthetics_score=true; allowed: false"):
        check(vlm_folder("llava"), tmp_path / "diffusion")


def test_a_missing_file_names_those_that_are_there(vlm_folder: Folder, folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "sd15", tmp_path / "diffusion")
    part = tmp_path / "diffusion" / "unet"
    (part / "diffusion_pytorch_model.safetensors").rename(part / "diffusion_pytorch_model.non_ema.safetensors")
    message = (
        r"diffusion_pytorch_model\.safetensors is missing; .*there are diffusion_pytorch_model\.non_ema\.safetensors"
    )
    for refusing in (lambda: check(vlm_folder("llava"), part.parent), lambda: load_diffusion(part.parent)):
        with pytest.raises(CheckpointError, match=message):
            refusing()


@pytest.mark.parametrize("variant", ["", "fp16"])
def test_shards_of_a_denoiser_are_read(vlm_folder: Folder, folders: Path, tmp_path: Path, variant: str) -> None:
    shutil.copytree(folders / "sd3", tmp_path / "diffusion")
    stock = load_diffusion(folders / "sd3")
    for role in ("transformer", "vae"):
        shutil.rmtree(tmp_path / "diffusion" / role)
        part = getattr(stock, role)
        part.save_pretrained(tmp_path / "diffusion" / role, max_shard_size="10KB", variant=variant or None)
    assert len(list((tmp_path / "diffusion" / "transformer").glob("*.safetensors"))) > 1
    check(vlm_folder("llava"), tmp_path / "diffusion", size=SIZE)
    again = load_diffusion(tmp_path / "diffusion").transformer.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in stock.transformer.state_dict().items())


def test_pixels_that_are_no_numbers_are_an_error_and_no_black_cover(vlm_of: Callable[[str], tuple[Any, Any]]) -> None:
    """The autoencoder overflows, though the latents are finite."""
    stock = make(tiny.sd15)
    with torch.no_grad():
        stock.vae.decoder.conv_out.bias.fill_(torch.inf)
    with pytest.raises(IcgError, match="NaN or infinity; allowed: a model that gives finite numbers in this precision"):
        both_pictures(vlm_of("smolvlm"), stock)


def test_latents_return_from_pixels_where_statistics_are_used() -> None:
    family = family_of(make(sdxl_with_statistics))
    z = torch.randn(1, 4, 4, 4)
    inputs: list[Tensor] = []
    family.vae.decode = lambda scaled, **_: (inputs.append(scaled), [torch.zeros(1, 3, 32, 32)])[1]
    family.decode(z)
    family.vae.encode = lambda _: type("Output", (), {"latent": inputs[0]})()
    assert torch.allclose(family.encode(torch.zeros(1, 3, 32, 32)), z, atol=1e-5)
