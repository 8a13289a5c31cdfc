"""Near-duplicate posts: texts of one campaign, one picture published twice. Of splits it knows only their order."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from PIL import Image

SIDE = 16
"""A hash has SIDE x SIDE bits."""
NEAR = 20
"""Largest distance in bits of two hashes of one picture: re-encoded, resized or slightly recoloured ones differ by up to a dozen."""
_NAMES, _MARKS = re.compile(r"https?://\S+|[@#]\w+"), re.compile(r"[\W\d_]+")


def perceptual_hash(picture: Image.Image) -> np.ndarray:
    """(SIDE * SIDE / 8,) uint8: the places where the picture, shrunk to grey, is brighter to the right (a difference hash)."""
    grey = np.asarray(picture.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1])


def campaign(text: str) -> str:
    """The text without addresses, names, numbers and punctuation: posts of one campaign share it."""
    return " ".join(_MARKS.sub(" ", _NAMES.sub(" ", text.casefold())).split())


def leaking(
    split: np.ndarray, hashed: np.ndarray, account: Iterable[str], text: Iterable[str], near: int = NEAR
) -> np.ndarray:
    """(N,) booleans: posts that occur again in a later split, by a picture within `near` bits or by account and campaign.

    Evaluation splits stay complete; the earlier of two posts is dropped, so that no evaluated post is learned.
    """
    import faiss

    out = np.zeros(len(split), bool)
    texts = [(a, campaign(t)) for a, t in zip(account, text, strict=True)]
    for number in np.unique(split)[1:]:
        late, early = np.flatnonzero(split == number), np.flatnonzero(split < number)
        campaigns = {texts[n] for n in late if texts[n][1]}
        out[[n for n in early if texts[n] in campaigns]] = True
        index = faiss.IndexBinaryFlat(hashed.shape[1] * 8)
        index.add(np.ascontiguousarray(hashed[late]))
        distance, _ = index.search(np.ascontiguousarray(hashed[early]), 1)
        out[early[distance[:, 0] <= near]] = True
    return out
