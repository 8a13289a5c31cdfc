"""Users of one cover space in another: a linear map, fitted on covers that both have embedded. numpy only.

A user embedding is a mean of cover embeddings, so a linear map of covers is one of users. An adapter reads users of the space that it was
trained with; with the map it can draw for users of a space that was fitted later.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from icg.errors import BriefError, CheckpointError
from icg.models.dual import WIDTH
from icg.users.numpy_encoder import cover_space

FILE = "crossing.safetensors"
RIDGE = 1.0


@dataclass(frozen=True)
class Crossing:
    """`slopes` (64, 64): a row of one space times them points where it is in the other one."""

    slopes: np.ndarray

    def __call__(self, user: np.ndarray) -> np.ndarray:
        """(..., 64) -> float32 rows as long as before, at most of unit length: a refiner goes by how much is known of a user.

        Raises BriefError for another width.
        """
        if np.shape(user)[-1] != WIDTH:
            raise BriefError(f"user_embedding width={np.shape(user)[-1]}; allowed: {WIDTH}")
        row = np.asarray(user, np.float32) @ self.slopes
        length = np.minimum(np.linalg.norm(user, axis=-1, keepdims=True), 1)
        out: np.ndarray = (length * row / np.maximum(np.linalg.norm(row, axis=-1, keepdims=True), 1e-6)).astype(
            np.float32
        )
        return out

    @classmethod
    def fit(cls, rows: np.ndarray, other: np.ndarray) -> Crossing:
        """Ridge regression. rows, other (N, 64): the same covers in either space."""
        x, y = rows.astype(np.float64), other.astype(np.float64)
        return cls(np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y).astype(np.float32))

    def save(self, folder: Path, number: int) -> None:
        """Write FILE. number: the `cover_space` of the checkpoint whose space it leads to."""
        save_file({"slopes": np.ascontiguousarray(self.slopes)}, folder / FILE, {"cover_space": str(number)})

    @classmethod
    def load(cls, folder: Path, root: Path) -> Crossing | None:
        """The map of a fitted space to that of the checkpoint `root`; None if it has none, or one to the space of another checkpoint.

        Raises CheckpointError for a broken file.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, "np") as file:
                number, slopes = (file.metadata() or {}).get("cover_space"), file.get_tensor("slopes")
        except SafetensorError as error:
            raise CheckpointError(f"space={str(path)!r}: {error}; allowed: a file of icg space fit") from error
        if slopes.shape != (WIDTH, WIDTH) or not np.isfinite(slopes).all():
            raise CheckpointError(f"space={str(path)!r}: slopes {slopes.shape}; allowed: finite, ({WIDTH}, {WIDTH})")
        return cls(slopes) if number == str(cover_space(root)) else None
