"""What RFFT trains of a pipeline: low-rank weights (arXiv:2106.09685) for its studios, or the ControlNet of one without. Knows no loss."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icg.draw.pipeline import CoverPipeline
from icg.errors import IcgError


@dataclass(frozen=True, eq=False)
class Tuned:
    """net: the module whose trainable weights change what the pipeline draws. untuned: a pipeline that draws as it did before. save: writes
    them into a folder, as a part of a checkpoint."""

    net: Any
    untuned: CoverPipeline
    save: Callable[[Path], None]


def tuned(pipeline: CoverPipeline, rank: int) -> Tuned:
    """Make ready for training what draws the scenes of this pipeline, and freeze all else. rank: of new low-rank weights; those of a
    checkpoint go on training.

    Raises IcgError if nothing does.
    """
    if pipeline.drawer(True).adapter.studios is None and pipeline.inpainter is None:
        raise IcgError("pipeline without studios and without a ControlNet; allowed: a checkpoint with either")
    untuned = copy.copy(pipeline)
    for part in (pipeline.family.vae, *(p for d in pipeline.drawers.values() for p in (d.family.denoiser, d.adapter))):
        part.requires_grad_(False)
    if pipeline.drawer(True).adapter.studios is not None:
        drawer = pipeline.studios = (pipeline.studios or pipeline.drawer(True)).copied()
        if untuned.studios is None:
            drawer.family.add_lora(rank, everywhere=True)
        for name, weight in drawer.family.denoiser.named_parameters():
            weight.requires_grad_("lora_" in name)
        return Tuned(
            drawer.family.denoiser, untuned, lambda folder: drawer.family.save_lora(folder / "grounds" / "studios")
        )
    inpainter: Any = pipeline.inpainter
    untuned.inpainter = copy.copy(inpainter)
    untuned.inpainter.net = copy.deepcopy(inpainter.net).requires_grad_(False)
    inpainter.net.requires_grad_(True).train()
    return Tuned(inpainter.net, untuned, lambda folder: inpainter.net.save_pretrained(folder / "controlnet"))
