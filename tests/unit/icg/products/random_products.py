"""Products with random weights, stored like trained ones, for pipelines of `tests.unit.icg.tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from icg.draw.pipeline import CoverPipeline
from icg.products import record
from icg.products.library import VECTORS
from icg.products.record import DREAMBOOTH, FULL, TEXTUAL_INVERSION, Record
from peft import get_peft_model_state_dict
from torch import Tensor


def tensors_of(pipeline: CoverPipeline, method: str, seed: int, rank: int = 2) -> dict[str, Tensor]:
    """As large as the pipeline's own, so that covers differ."""
    random = torch.Generator().manual_seed(seed)
    if method == TEXTUAL_INVERSION:
        width = pipeline.vlm.get_input_embeddings().weight.shape[1]
        return {VECTORS: torch.randn((3, width), generator=random)}
    denoiser = pipeline.family.denoiser
    if method == FULL:
        shapes = dict(denoiser.named_parameters())
    else:
        pipeline.base  # noqa: B018 - computed before low-rank weights are added
        pipeline.family.add_lora(rank, "low-rank", everywhere=True)
        shapes = get_peft_model_state_dict(denoiser, adapter_name="low-rank")
        denoiser.unload_lora()
    return {name: torch.randn(value.shape, generator=random).half() * 0.3 for name, value in shapes.items()}


def store_product(
    folder: Path, pipeline: CoverPipeline, id: str, method: str = DREAMBOOTH, seed: int = 0, **options: Any
) -> Record:
    """Store a product of this pipeline."""
    tensors = options.pop("tensors", None) or tensors_of(pipeline, method, seed, options.pop("rank", 2))
    values = {
        "id": id,
        "kind": "kettle",
        "method": method,
        "base": pipeline.base,
        "base_name": "tiny",
        "size": (64, 64),
    }
    values |= {"steps": 1, "lr": 0.1, "seed": seed, "rank": 2, "vectors": 3, "prior": True, "pictures": ("0" * 64,)}
    values |= {"alike": 1.0, "seconds": 1.0, "memory_mb": 1, "created": "2026-01-01T00:00:00+00:00"}
    return record.write(folder, tensors, **values | options)
