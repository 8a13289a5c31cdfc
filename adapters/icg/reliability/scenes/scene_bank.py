"""Drawn scenes stored as memory-mapped arrays: training reads each scene many times."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from tqdm import tqdm

from icg.errors import CheckpointError
from icg.reliability.scenes.scenes import SIDE, Geometry, Scenes

PLANES = {"picture": 3, "product": 4, "placed": 4, "depth": 1, "saliency": 1}
"""Channels of each uint8 array."""
RULES = 5
"""Fields of a Geometry."""


@dataclass(frozen=True, eq=False)
class SceneBank:
    """N scenes of S x S pixels. picture (N, S, S, 3), product and placed (N, S, S, 4), depth and saliency (N, S, S, 1), all uint8; label
    (N,) of Availability; severity (N,); geometry (N, 5), Geometry's fields; captions and titles."""

    picture: np.ndarray
    product: np.ndarray
    placed: np.ndarray
    depth: np.ndarray
    saliency: np.ndarray
    label: np.ndarray
    severity: np.ndarray
    geometry: np.ndarray
    captions: list[str]
    titles: list[str]

    def __len__(self) -> int:
        return len(self.label)

    def rules(self, row: int) -> Geometry:
        """The geometry of one scene."""
        return Geometry(*map(float, self.geometry[row]))

    @classmethod
    def draw(cls, folder: Path, scenes: Scenes, seed: int, count: int) -> Self:
        """The first `count` scenes of `seed`, drawn into `folder` or read from it. CheckpointError if it holds other scenes."""
        words = folder / "scenes.json"
        if not words.exists():
            folder.mkdir(parents=True, exist_ok=True)
            planes = {
                name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (count, SIDE, SIDE, channels))
                for name, channels in PLANES.items()
            }
            rows, captions, titles = np.zeros((count, RULES + 2), np.float32), [], []
            for n, scene in enumerate(tqdm(scenes.stream(seed, count), total=count, desc=folder.name, mininterval=5.0)):
                for name, plane in planes.items():
                    value = np.asarray(getattr(scene, name))
                    plane[n] = (value * 255).round()[..., None] if value.ndim == 2 else value
                rows[n] = (scene.label, scene.severity, *astuple(scene.geometry))
                captions.append(scene.caption)
                titles.append(scene.title)
            np.save(folder / "rows.npy", rows)
            words.write_text(json.dumps({"seed": seed, "captions": captions, "titles": titles}))
        bank = cls.read(folder)
        stored = json.loads(words.read_text()).get("seed"), len(bank)
        if stored != (seed, count):
            raise CheckpointError(
                f"scenes={str(folder)!r}: {stored[1]} of seed {stored[0]}; allowed: {count} of seed {seed}, or another folder"
            )
        return bank

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder of `draw`. CheckpointError if a file is missing or their lengths differ."""
        try:
            planes = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in PLANES}
            rows, texts = np.load(folder / "rows.npy"), json.loads((folder / "scenes.json").read_text())
            words = {name: texts[name] for name in ("captions", "titles")}
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"scenes={str(folder)!r}: not readable ({error}); allowed: a drawn bank") from error
        lengths = {len(plane) for plane in (*planes.values(), rows, *words.values())}
        if len(lengths) != 1:
            raise CheckpointError(f"scenes={str(folder)!r}: files of {sorted(lengths)} scenes; allowed: all the same")
        return cls(**planes, label=rows[:, 0].astype(np.int64), severity=rows[:, 1], geometry=rows[:, 2:], **words)
