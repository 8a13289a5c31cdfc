"""Writes a starter folder: vlm/, diffusion/, adapter/, grounds/, safetensors in half precision or less. Knows nothing about training."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, SanaPipeline
from safetensors.torch import load_file, save_file

from icg.adapter.model import IcgAdapter


def scheduler(shift: float = 1.0) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ (arXiv:2211.01095) on the flow's sigmas."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, final_sigmas_type="zero"
    )


def drawing(root: Path, adapter: IcgAdapter, denoiser: Any, autoencoder: Any) -> None:
    """Write diffusion/ (a stock SanaPipeline without text encoder) and adapter/."""
    parts = {"transformer": _half(denoiser), "vae": _half(autoencoder)}
    pipeline = SanaPipeline(tokenizer=None, text_encoder=None, scheduler=scheduler(), **parts)
    pipeline.save_pretrained(root / "diffusion", safe_serialization=True)
    for name in parts:
        _without_folder(root / "diffusion" / name / "config.json")
    adapter.save_pretrained(root / "adapter")


def grounds(root: Path, adapter: IcgAdapter, denoiser: Any) -> None:
    """Write grounds/: adapter/, and denoiser/ with its matrices in 8 bits (float8_e4m3fn), which grounds hardly show (docs/log.md)."""
    folder = root / "grounds" / "denoiser"
    _half(denoiser).save_pretrained(folder, safe_serialization=True)
    _without_folder(folder / "config.json")
    file = folder / "diffusion_pytorch_model.safetensors"
    weights = {name: w.to(torch.float8_e4m3fn) if w.ndim > 1 else w for name, w in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    adapter.save_pretrained(root / "grounds" / "adapter")


def seeing(root: Path, vlm: Any, processor: Any) -> None:
    """Write vlm/."""
    _half(vlm).save_pretrained(root / "vlm", safe_serialization=True)
    processor.save_pretrained(root / "vlm")


def size(root: Path) -> int:
    """Bytes of safetensors under `root`."""
    return sum(p.stat().st_size for p in root.rglob("*.safetensors"))


def _without_folder(config: Path) -> None:
    """Remove the folder of the machine that a model was loaded on."""
    values = json.loads(config.read_text())
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2) + "\n")


def _half(module: Any) -> Any:
    return copy.deepcopy(module).to(torch.float16)
