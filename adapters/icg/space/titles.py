"""A CLIP or SigLIP as a judge of titles in the shape of the dual encoder. Knows no catalogue."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from icg.rewards.clip import Clip


class ClipTitles:
    """Unit rows of pictures and of titles."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    @torch.inference_mode()
    def images(self, images: list[Image.Image]) -> np.ndarray:
        """(N, D)."""
        return self.clip.pictures(images).float().cpu().numpy()

    @torch.inference_mode()
    def texts(self, titles: list[str]) -> np.ndarray:
        """(N, D)."""
        return self.clip.texts(titles).float().cpu().numpy()
