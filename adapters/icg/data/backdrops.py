"""A subject on noise with a photograph's statistics: variety for judges that should not expect flat backdrops.

Amplitude falls with frequency about as in natural pictures (Field 1987). Deterministic for its generator.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.data.compose import PLACES


def scene(sprite: np.ndarray, framing: str, rng: np.random.Generator, side: int) -> Image.Image:
    """`sprite` (S, S, 4) uint8 at the framing's place on noise, (side, side) RGB."""
    canvas = Image.fromarray(backdrop(rng, side))
    scale, x, y = PLACES[framing]
    edge = round(side * scale)
    picture = Image.fromarray(sprite).resize((edge, edge), Image.Resampling.BICUBIC)
    canvas.paste(picture, (round(x * side - edge / 2), round(y * side - edge / 2)), picture)
    return canvas


def backdrop(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3) uint8: one brightness and two colour layers of 1/f^a noise, a in 0.9..1.5."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    amplitude = np.where(frequency > 0, np.maximum(frequency, 1) ** -rng.uniform(0.9, 1.5), 0)
    layers = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, side, side))) * amplitude, (side, side))
    layers /= layers.std((1, 2), keepdims=True)
    light = rng.uniform(0.3, 0.7) + rng.uniform(0.1, 0.25) * layers[0]
    colour = rng.uniform(-0.15, 0.15, 2)[:, None, None] + rng.uniform(0.02, 0.12) * layers[1:]
    rgb = light + np.stack([colour[0], -0.5 * (colour[0] + colour[1]), colour[1]])
    return (np.clip(rgb, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
