"""Pictures -> designs, automatically: palette by k-means, tones from the palette, objects by the joint embedding, composition by saliency,
style by a VLM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from icg.design.form import Pieces, choose
from icg.design.palette import palette, to_lab
from icg.design.schema import BRIGHTNESS, MAX_COLOURS, PLACES, SIZES, STYLES, TENTHS, VIVIDNESS, WARMTH, Design
from icg.models import vlm as reading
from icg.models.joint import JointEmbedding
from icg.rewards.base import pixels

SIDE = 128
SALIENT = 0.5
FEWEST = 0.01
"""If the salient part is a smaller share of the picture, the whole picture counts as salient."""
LIGHT, WARM, VIVID = (48.0, 68.0), (-6.0, 12.0), (18.0, 36.0)
"""Limits between the words of a tone: mean lightness L*, mean a* + b*, mean chroma."""
LARGE = (0.18, 0.33)
"""Limits between sizes: the salient part's share of the picture's area."""
ASIDE = 0.08
"""Largest distance from the middle, in shares of the width, at which the salient part is in the centre."""


class Describer:
    """`vocabulary`: names of objects that pictures may show, up to 64 characters each. `cues`: a network of icg.reliability.cues."""

    def __init__(
        self, embedding: JointEmbedding, cues: Any, vlm: Any, processor: Any, vocabulary: Sequence[str]
    ) -> None:
        self._embedding, self._cues, self._vlm, self._processor = embedding, cues, vlm, processor
        self._pieces = Pieces(processor.tokenizer)
        self._vocabulary = list(dict.fromkeys(vocabulary))
        self._names = embedding.texts(self._vocabulary)

    def __call__(self, images: Sequence[Image.Image]) -> list[Design]:
        """One design a picture, with an empty `avoid`."""
        scores = self._embedding.images(list(images)) @ self._names.T
        parts = []
        for first in range(0, len(images), 64):
            batch = list(images[first : first + 64])
            with torch.inference_mode():
                salient = self._cues(pixels(batch, SIDE))[1][:, 0].numpy()
            parts += [_describe(image, map) for image, map in zip(batch, salient, strict=True)]
        names = [self._vocabulary[k] for k in scores.argmax(1)]
        styles = [self._style(image, name) for image, name in zip(images, names, strict=True)]
        return [
            Design(colours, tones, (name,), place, size, style)
            for name, style, (colours, tones, place, size) in zip(names, styles, parts, strict=True)
        ]

    def _style(self, image: Image.Image, name: str) -> str:
        """The style that the VLM considers likeliest after the picture and the name of its object."""
        inputs = reading.inputs(self._processor, f"{name},", (image,))
        return choose(self._vlm, self._pieces, inputs, STYLES)


Parts = tuple[tuple[tuple[str, int], ...], tuple[str, str, str], str, str]


def _describe(image: Image.Image, salient: np.ndarray) -> Parts:
    """salient (SIDE, SIDE) in 0..1."""
    lab = to_lab(np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)))
    inside = salient > SALIENT
    if inside.mean() < FEWEST:
        inside = np.ones_like(inside)
    middle = float(np.nonzero(inside)[1].mean() / SIDE)
    place = PLACES[(middle > 0.5 - ASIDE) + (middle > 0.5 + ASIDE)]
    size = SIZES[int((inside.mean() > np.array(LARGE)).sum())]
    chroma = np.hypot(lab[..., 1], lab[..., 2]).mean()
    tones = (
        _word(BRIGHTNESS, lab[..., 0].mean(), LIGHT),
        _word(WARMTH, (lab[..., 1] + lab[..., 2]).mean(), WARM),
        _word(VIVIDNESS, chroma, VIVID),
    )
    colours = tenths([(c.name, c.share) for c in palette(image, MAX_COLOURS)])
    return colours, tones, place, size


def tenths(shares: Sequence[tuple[str, float]]) -> tuple[tuple[str, int], ...]:
    """Shares, the largest first -> tenths of at least 1, together at most 10."""
    out: list[tuple[str, int]] = []
    left, last = TENTHS, TENTHS
    for name, share in shares:
        tenth = min(max(1, round(share * TENTHS)), left, last)
        if tenth:
            out.append((name, tenth))
            left, last = left - tenth, tenth
    return tuple(out)


def _word(words: tuple[str, str, str], value: float, parts: tuple[float, float]) -> str:
    return words[int((value > np.array(parts)).sum())]
