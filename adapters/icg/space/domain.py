"""Distances of any pictures to the catalogue of a space. Knows no behaviour."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from icg.data import photographs
from icg.errors import InputError
from icg.models.joint import pixels
from icg.models.space import FittedSpace
from icg.pictures import decode, read

BATCH = 32


@torch.inference_mode()
def distances(space: FittedSpace, source: Path) -> tuple[list[tuple[str, float]], int]:
    """(name, distance) of a picture, or of all below a folder; and how many could not be decoded. InputError without any that could."""
    paths = photographs.pictures(source) if source.is_dir() else [source]
    out: list[tuple[str, float]] = []
    names, images = list[str](), list[Image.Image]()
    refused = 0
    for n, path in enumerate(paths):
        try:
            images.append(decode(read(path), path.name, shortest=256))
            names.append(str(path.relative_to(source)) if source.is_dir() else path.name)
        except InputError:
            refused += 1
        if images and (len(images) == BATCH or n == len(paths) - 1):
            features = space.features(pixels(images, space.side)).numpy()
            out += zip(names, space.projection.distances(features).tolist(), strict=True)
            names, images = [], []
    if not out:
        raise InputError("pictures", f"0 of {len(paths)} in {str(source)!r} that can be decoded", "at least one")
    return out, refused
