"""Posts that are nearly the same: one campaign's texts, one picture published twice. Knows no split's meaning but its order."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from PIL import Image

SIDE = 16
"""A hash has SIDE x SIDE bits."""
NEAR = 20
"""Bits by which two hashes of one picture may differ: re-encoded, resized or slightly recoloured ones do by up to a dozen."""
_NAMES, _MARKS = re.compile(r"https?://\S+|[@#]\w+"), re.compile(r"[\W\d_]+")


def perceptual_hash(picture: Image.Image) -> np.ndarray:
    """(SIDE * SIDE / 8,) uint8: where the picture, shrunk to grey, grows brighter to the right (a difference hash)."""
    grey = np.asarray(picture.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1])


def campaign(text: str) -> str:
    """What remains of a text without addresses, names, numbers and punctuation: posts of one campaign share it."""
    return " ".join(_MARKS.sub(" ", _NAMES.sub(" ", text.casefold())).split())


def leaking(
    split: np.ndarray, hashed: np.ndarray, account: Iterable[str], text: Iterable[str], near: int = NEAR
) -> np.ndarray:
    """(N,) booleans: posts that a later split (N,) shows again, by a picture within `near` bits or by account and campaign.

    What is to be judged stays whole; the earlier of two goes, so that nothing is learned from what is judged.
    """
    import faiss

    out = np.zeros(len(split), bool)
    said = [(a, campaign(t)) for a, t in zip(account, text, strict=True)]
    for number in np.unique(split)[1:]:
        late, early = np.flatnonzero(split == number), np.flatnonzero(split < number)
        campaigns = {said[n] for n in late if said[n][1]}
        out[[n for n in early if said[n] in campaigns]] = True
        index = faiss.IndexBinaryFlat(hashed.shape[1] * 8)
        index.add(np.ascontiguousarray(hashed[late]))
        distance, _ = index.search(np.ascontiguousarray(hashed[early]), 1)
        out[early[distance[:, 0] <= near]] = True
    return out
