"""A small picture of an unfinished cover: its estimated clean latent, turned into colours by one matrix.

No decoder is called. The channels of an autoencoder's latent are nearly linear in the colours of the pixels they stand for; the matrix
is fitted by least squares to synthetic pictures that the family's own autoencoder encodes. Knows no request.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg.models.families import Family

CELLS = 8
"""Edge of the fitted latents, at least."""
EACH = 4
"""Pictures of each kind."""
RIDGE = 1e-2
"""Ridge regularisation, relative to the channels' mean square: keeps redundant channels from cancelling each other."""


class Colours:
    """Clean latents to pictures with one pixel per cell. Fitted once, on 3 x EACH small pictures."""

    def __init__(self, family: Family, device: torch.device) -> None:
        pictures = _pictures(family.multiple * -(-CELLS * family.factor // family.multiple))
        latents = family.encode(pictures.to(device)).double().cpu()
        colours = F.adaptive_avg_pool2d(pictures.double(), latents.shape[2:])
        design = F.pad(latents.movedim(1, -1).flatten(0, 2), (0, 1), value=1.0)
        gram = design.T @ design
        gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weights = torch.linalg.solve(gram, design.T @ colours.movedim(1, -1).flatten(0, 2))
        self._matrix, self._ground = weights[:-1].float().to(device), weights[-1].float().to(device)

    def __call__(self, clean: Tensor) -> Image.Image:
        """`clean` (C, h, w) -> RGB of w x h pixels."""
        pixels = clean.float().movedim(0, -1) @ self._matrix + self._ground
        return Image.fromarray((pixels / 2 + 0.5).clamp(0, 1).mul(255).round().byte().cpu().numpy())


def shown_after(done: int, total: int) -> bool:
    """Whether a preview is due after `done` of `total` steps: after half and three quarters of them, rounded up, never after all."""
    return done < total and done in (-(-total // 2), -(-3 * total // 4))


def _pictures(side: int) -> Tensor:
    """(3 x EACH, 3, side, side) in [-1, 1]: gradients, patches, and patches on a plain ground."""
    random = torch.Generator("cpu").manual_seed(0)

    def colours(edge: int, mode: str, to: int = side) -> Tensor:
        return F.interpolate(torch.rand((EACH, 3, edge, edge), generator=random) * 2 - 1, to, mode=mode)

    placed, edge = colours(1, "nearest"), side // 4
    placed[..., edge:-edge, edge:-edge] = colours(2, "nearest", side - 2 * edge)
    return torch.cat([colours(2, "bilinear"), colours(4, "nearest"), placed])
