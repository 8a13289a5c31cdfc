"""Covers of a catalogue -> features, thumbnails and rewards, each picture decoded once. Knows no behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from icg.brief import Brief
from icg.data.catalogue import Example, RowReport
from icg.errors import InputError
from icg.models.joint import pixels
from icg.models.picture_encoder import PictureEncoder
from icg.pictures import decode, read
from icg.rewards.base import Reward

BATCH, THUMBNAIL = 64, 8


class Titles(Protocol):
    """Pictures and titles in one space, as unit rows: what relevance is measured with."""

    def images(self, images: list[Image.Image]) -> np.ndarray: ...
    def texts(self, titles: list[str]) -> np.ndarray: ...


@dataclass(frozen=True)
class Embedded:
    """Of N covers that could be decoded: `rows` (N,) of the source, `features` (N, F), `thumbnails` (N, 192) the pixels of a
    picture of 8 x 8, the baseline; `rewards`: (N,) by name; `pictures` and `titles`: (N, D) rows whose cosine is the relevance;
    `own`: (N, 64) rows in the checkpoint's own space, None if it has none."""

    rows: np.ndarray
    features: np.ndarray
    thumbnails: np.ndarray
    rewards: dict[str, np.ndarray]
    pictures: np.ndarray
    titles: np.ndarray
    own: np.ndarray | None = None

    @property
    def relevance(self) -> np.ndarray:
        """(N,) cosines of covers and their own titles."""
        out: np.ndarray = (self.pictures * self.titles).sum(1)
        return out


@torch.inference_mode()
def embed(
    covers: Sequence[Example],
    encoder: PictureEncoder,
    titles: Titles,
    rewards: Mapping[str, Reward],
    report: RowReport,
    on_progress: Callable[[int], None] = lambda done: None,
    own: Callable[[list[Image.Image]], np.ndarray] | None = None,
) -> Embedded:
    """A cover that cannot be decoded is left out, and counted in `report`. At least one has to remain."""
    parts: list[tuple[np.ndarray, ...]] = []
    scores: dict[str, list[np.ndarray]] = {name: [] for name in rewards}
    for start in range(0, len(covers), BATCH):
        rows, images = _decoded(covers, range(start, min(start + BATCH, len(covers))), report)
        if rows:
            features = torch.cat([encoder(pixels(images[i : i + 16], encoder.side)) for i in range(0, len(rows), 16)])
            words = [covers[n].title for n in rows]
            small = pixels(images, THUMBNAIL).flatten(1).numpy()
            related = titles.images(images), titles.texts(words)
            beside = () if own is None else (own(images),)
            parts.append((np.array(rows), features.numpy(), small, *related, *beside))
            for name, reward in rewards.items():
                scores[name].append(reward(images, [Brief(title=title) for title in words]))
        on_progress(min(start + BATCH, len(covers)))
    if not parts:
        raise InputError("covers", f"0 of {len(covers)} that can be decoded", "a catalogue with pictures")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    whole = {name: np.concatenate(values) for name, values in scores.items()}
    return Embedded(columns[0], columns[1], columns[2], whole, *columns[3:])


def _decoded(
    covers: Sequence[Example], numbers: Sequence[int], report: RowReport
) -> tuple[list[int], list[Image.Image]]:
    rows, images = [], []
    for n in numbers:
        try:
            images.append(decode(read(covers[n].path), "picture", shortest=256))
            rows.append(n)
        except InputError as error:
            report.accepted -= 1
            report.refuse("a picture that cannot be decoded", "covers", 0, covers[n].cover, str(error))
    return rows, images
