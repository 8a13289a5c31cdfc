"""A pipeline on its device, in the precision and the sizes that its checkpoint names, ready to be served."""

from __future__ import annotations

from typing import Any

import torch

from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError
from icg.models.precision import half_on_cpu
from icg.scheduler.engine import StepScheduler

SLICED = 512 * 512
"""Pixels of a cover above which pictures are decoded one by one: a batch of large ones takes gigabytes."""


def on_device(pipeline: CoverPipeline, device: str = "", **options: Any) -> StepScheduler:
    """The scheduler of a pipeline that is moved to `device` ("" for a GPU if there is one). options: of StepScheduler; sizes are those of
    the pipeline's settings, if they are not among them. Raises CheckpointError for a device that does not exist."""
    settings = pipeline.settings
    dtype = getattr(torch, settings.dtype) if settings.dtype else None
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if dtype is None and where.type == "cpu" and half_on_cpu():
            dtype = torch.bfloat16
        pipeline.to(where, dtype)
    except (RuntimeError, AssertionError) as error:  # torch's errors for a device that is not there
        raise CheckpointError(f"device={device!r}; allowed: cpu, cuda or cuda:N of this machine ({error})") from error
    vae = pipeline.family.vae
    if any(width * height > SLICED for width, height in settings.all_sizes) and hasattr(vae, "enable_slicing"):
        vae.enable_slicing()
    return StepScheduler(pipeline, **{"sizes": settings.all_sizes} | options)
