"""Which diffusion models are drawn as their stock pipelines draw them. All others are refused by the name of what differs.

A pipeline class of diffusers that takes more than a text (a picture, a mask, a second model) shares its denoiser's class with one that
does not, so the class of the denoiser alone says too little. Reads configurations; knows no weights and no adapter.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from icg.errors import CheckpointError
from icg.models.families import Family, Flux, PixArt, StableDiffusion, StableDiffusion3, StableDiffusionXL
from icg.models.noise import is_flow, prediction_of

FAMILIES: dict[str, type[Family]] = {
    "SanaTransformer2DModel": Family,
    "PixArtTransformer2DModel": PixArt,
    "UNet2DConditionModel": StableDiffusion,
    "SD3Transformer2DModel": StableDiffusion3,
    "FluxTransformer2DModel": Flux,
}
PIPELINES = (
    "StableDiffusionPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
    "PixArtAlphaPipeline",
    "PixArtSigmaPipeline",
    "SanaPipeline",
)
"""Classes of diffusers that draw from text alone, with these denoisers and without a second model."""
AUTOENCODERS = ("AutoencoderKL", "AutoencoderDC", "AutoencoderTiny")
_NONE: tuple[object, ...] = (None,)
_UNET: dict[str, tuple[object, ...]] = {
    "class_embed_type": _NONE,
    "num_class_embeds": _NONE,
    "encoder_hid_dim": _NONE,
    "encoder_hid_dim_type": _NONE,
    "addition_embed_type": (None, "text_time"),
    "attention_type": ("default",),
}
"""Other values add inputs that a text does not give: classes, pictures, boxes, another text encoder."""
_SETTINGS: dict[str, dict[str, tuple[object, ...]]] = {
    "UNet2DConditionModel": _UNET,
    "SanaTransformer2DModel": {"guidance_embeds": (None, False)},
}


def check_index(index: Mapping[str, object]) -> None:
    """Raise CheckpointError for a model_index.json of a pipeline that takes more than text."""
    name = index.get("_class_name")
    if name not in PIPELINES:
        raise CheckpointError(
            f"diffusion _class_name={name!r} in model_index.json; allowed: {', '.join(PIPELINES)}, which draw from text alone"
        )
    if index.get("requires_aesthetics_score"):
        raise CheckpointError(
            "diffusion requires_aesthetics_score=true; allowed: false (a refiner draws from pictures)"
        )


def family_of(pipeline: Any) -> Family:
    """The family of a loaded stock pipeline. Raises CheckpointError for an unknown one, and for a model that the family draws otherwise
    than the stock pipeline, naming the setting."""
    denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    name = type(denoiser).__name__
    kind = FAMILIES.get(name)
    if kind is None:
        raise CheckpointError(f"diffusion={name}; allowed: a pipeline with {', '.join(FAMILIES)}")
    config = denoiser.config
    for setting, allowed in _SETTINGS.get(name, {}).items():
        _check(f"denoiser {setting}", config.get(setting), allowed)
    if kind is StableDiffusion:
        _check_text(config)
        if config.addition_embed_type == "text_time":
            kind = StableDiffusionXL
    _check("autoencoder", type(pipeline.vae).__name__, AUTOENCODERS)
    family = kind(pipeline)
    _check_channels(family)
    if getattr(pipeline, "scheduler", None) is not None:
        _check_scheduler(family, pipeline.scheduler)
    return family


def _check(what: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise CheckpointError(f"diffusion {what}={value!r}; allowed: {' or '.join(map(str, allowed))}")


def _check_text(config: Any) -> None:
    if not isinstance(config.cross_attention_dim, int):
        allowed = "one whole number, the width of the text"
        raise CheckpointError(
            f"diffusion denoiser cross_attention_dim={config.cross_attention_dim!r}; allowed: {allowed}"
        )
    if config.addition_embed_type == "text_time":
        pooled = (config.projection_class_embeddings_input_dim or 0) - 6 * (config.addition_time_embed_dim or 0)
        if pooled < 1:
            value = config.projection_class_embeddings_input_dim
            raise CheckpointError(
                f"diffusion denoiser projection_class_embeddings_input_dim={value!r}; allowed: more than six times "
                "addition_time_embed_dim, for six numbers of the size"
            )


def _check_channels(family: Family) -> None:
    """More channels in are a mask or a picture beside the latent; more out are something else than a picture."""
    config, latent = family.denoiser.config, int(family.vae.config.latent_channels)
    packed = 4 if isinstance(family, Flux) else 1
    _check("denoiser in_channels", config.in_channels, (packed * latent,))
    doubled = (2 * latent,) if isinstance(family, PixArt) else ()
    _check("denoiser out_channels", config.get("out_channels") or packed * latent, (packed * latent, *doubled))
    for side in ("in_channels", "out_channels"):
        _check(f"autoencoder {side}", family.vae.config.get(side, 3), (3,))


def _check_scheduler(family: Family, scheduler: Any) -> None:
    """Its mixture of picture and noise has to be known, for product pictures and previews; FLUX's times are given as sigmas."""
    name = type(scheduler).__name__
    if not is_flow(scheduler):
        if not hasattr(scheduler, "alphas_cumprod"):
            allowed = "one of flow matching, or with alphas_cumprod (DDIM, Euler, DPM-Solver, ...)"
            raise CheckpointError(f"diffusion scheduler={name!r}; allowed: {allowed}")
        prediction_of(scheduler)
    if isinstance(family, Flux) and "sigmas" not in inspect.signature(scheduler.set_timesteps).parameters:
        raise CheckpointError(
            f"diffusion scheduler={name!r}; allowed: one that takes sigmas, as FlowMatchEulerDiscreteScheduler"
        )
