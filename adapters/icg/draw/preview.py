"""A small picture of a cover that is still noise: what the denoiser takes its latent for, in colours by one matrix.

No decoder is called. The channels of an autoencoder's latent are nearly linear in the colours under them; how, is fitted by least
squares to pictures made here and encoded by the family's own autoencoder. Knows no request.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg.models.families import Family

CELLS = 8
"""Edge of the latents that are fitted to, at least."""
EACH = 4
"""Pictures of each kind."""
RIDGE = 1e-2
"""Of the channels' mean square: channels that say the same are not played off against each other."""


class Colours:
    """Clean latents to pictures of a pixel a cell. Made by encoding 3 x EACH small pictures, once."""

    def __init__(self, family: Family, device: torch.device) -> None:
        pictures = _pictures(family.multiple * -(-CELLS * family.factor // family.multiple))
        latents = family.encode(pictures.to(device)).double().cpu()
        colours = F.adaptive_avg_pool2d(pictures.double(), latents.shape[2:])
        given = F.pad(latents.movedim(1, -1).flatten(0, 2), (0, 1), value=1.0)
        gram = given.T @ given
        gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        fitted = torch.linalg.solve(gram, given.T @ colours.movedim(1, -1).flatten(0, 2))
        self._matrix, self._ground = fitted[:-1].float().to(device), fitted[-1].float().to(device)

    def __call__(self, clean: Tensor) -> Image.Image:
        """`clean` (C, h, w) -> RGB of w x h pixels."""
        found = clean.float().movedim(0, -1) @ self._matrix + self._ground
        return Image.fromarray((found / 2 + 0.5).clamp(0, 1).mul(255).round().byte().cpu().numpy())


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
