"""Anchoring a cover in the item's own picture: its cut-out is set into the cover in the making.

SDEdit (arXiv:2108.01073) started from a collage: the denoiser first lays out the background its user likes, then the cut-out is pasted
into that estimate, noise is added again and the remaining steps lay light around it. The pixels that the finished cover shows of the
picture do not come from here: `icg.compose.cover` sets them in after decoding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from icg.brief import Brief
from icg.compose.cover import collage, place_in
from icg.compose.layout import Place
from icg.models.families import Family


def blend(family: Family, brief: Brief, guess: Tensor) -> tuple[Tensor, Place]:
    """Set the brief's product into `guess`, the clean latent (1, C, h, w) as now estimated; and where it is now."""
    if brief.product is None:
        raise ValueError("product=None; allowed: a brief with a product")
    draft = family.images(guess)[0]
    at = place_in(brief, draft)
    picture = collage(draft, brief.product, at)
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].to(guess.device).float() / 127.5 - 1
    return family.encode(pixels), at
