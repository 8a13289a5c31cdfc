"""Made-up scenes drawn once and kept as arrays that are mapped, not read: a recipe sees each of them many times."""

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
"""Channels of each array of bytes."""
RULES = 5
"""Numbers of a Geometry."""


@dataclass(frozen=True, eq=False)
class SceneBank:
    """N scenes. picture (N, S, S, 3), product and placed (N, S, S, 4), depth and saliency (N, S, S, 1), all uint8; label (N,) of
    Availability; severity (N,); geometry (N, 5) as Geometry's fields; captions and titles."""

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
        """The first `count` scenes of `seed`, drawn into `folder`, or read from there. CheckpointError where others lie there."""
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
                    found = np.asarray(getattr(scene, name))
                    plane[n] = (found * 255).round()[..., None] if found.ndim == 2 else found
                rows[n] = (scene.label, scene.severity, *astuple(scene.geometry))
                captions.append(scene.caption)
                titles.append(scene.title)
            np.save(folder / "rows.npy", rows)
            words.write_text(json.dumps({"seed": seed, "captions": captions, "titles": titles}))
        found = cls.read(folder)
        there = json.loads(words.read_text()).get("seed"), len(found)
        if there != (seed, count):
            raise CheckpointError(
                f"scenes={str(folder)!r}: {there[1]} of seed {there[0]}; allowed: {count} of seed {seed}, or another folder"
            )
        return found

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `draw` left. CheckpointError when a file is missing or they are of different lengths."""
        try:
            planes = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in PLANES}
            rows, stated = np.load(folder / "rows.npy"), json.loads((folder / "scenes.json").read_text())
            words = {name: stated[name] for name in ("captions", "titles")}
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"scenes={str(folder)!r}: not readable ({error}); allowed: a drawn bank") from error
        lengths = {len(plane) for plane in (*planes.values(), rows, *words.values())}
        if len(lengths) != 1:
            raise CheckpointError(f"scenes={str(folder)!r}: files of {sorted(lengths)} scenes; allowed: all the same")
        return cls(**planes, label=rows[:, 0].astype(np.int64), severity=rows[:, 1], geometry=rows[:, 2:], **words)
