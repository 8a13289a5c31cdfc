"""A cover space fitted on one's own catalogue: a frozen picture encoder and a linear projection to 64 numbers. Knows no behaviour.

A folder of `icg space fit`: space.json (the encoder), projection.safetensors, scales.json and report.json. The distance of a picture to the
catalogue is that of Moghaddam and Pentland (1997): Mahalanobis inside the principal subspace plus the residual outside of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from icg.checkpoints import SPACE_WEIGHTS, part_of
from icg.errors import CheckpointError
from icg.models import picture_encoder
from icg.models.dual import WIDTH
from icg.models.picture_encoder import PictureEncoder

FORMAT = "eyecatch-space-1"


@dataclass(frozen=True)
class Projection:
    """`mean` and `deviation` (F,) standardise features; `basis` (F, 64) has orthonormal columns; `turn` (64, 64) weighs and rotates
    them. `variance` (64,) along the columns, `residual`: variance outside of them; `radius`: distances of `share` of the catalogue's
    covers, held out of the fit, are below it."""

    mean: np.ndarray
    deviation: np.ndarray
    basis: np.ndarray
    turn: np.ndarray
    variance: np.ndarray
    residual: float
    radius: float = 1.0
    share: float = 0.99

    def coordinates(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, F) -> (N, 64) along the basis, and (N,) squared lengths outside of it."""
        z = (features.astype(np.float32) - self.mean) / self.deviation
        y = z @ self.basis
        return y, np.maximum((z**2).sum(1) - (y**2).sum(1), 0)

    def rows(self, features: np.ndarray) -> np.ndarray:
        """(N, F) -> (N, 64) float32 unit rows."""
        y = self.coordinates(features)[0] @ self.turn
        out: np.ndarray = (y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-6)).astype(np.float32)
        return out

    def distances(self, features: np.ndarray) -> np.ndarray:
        """(N, F) -> (N,) distances to the catalogue; those of its own covers are about 1."""
        y, outside = self.coordinates(features)
        inside = (y**2 / self.variance).mean(1)
        out: np.ndarray = np.sqrt((inside + outside / self.residual) / 2)
        return out

    def save(self, path: Path, encoder: str) -> None:
        """Write the safetensors file. encoder: its digest."""
        arrays = {name: getattr(self, name).astype(np.float32) for name in ("mean", "deviation", "turn", "variance")}
        arrays["basis"] = self.basis.astype(np.float16)
        arrays["numbers"] = np.array([self.residual, self.radius, self.share], np.float32)
        # safetensors writes the memory of an array as it lies, so a transposed one would come back scrambled.
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(arrays, path, {"format": FORMAT, "encoder": encoder})

    @classmethod
    def load(cls, path: Path) -> tuple[Projection, str]:
        """The projection and the digest of its encoder. Raises CheckpointError for another file."""
        if not path.is_file():
            raise CheckpointError(
                f"space={str(path.parent)!r}: {path.name} is missing; allowed: a folder of icg space fit"
            )
        try:
            with safe_open(path, "np") as file:
                about = file.metadata() or {}
                parts = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
            if about.get("format") != FORMAT:
                raise CheckpointError(f"space={str(path)!r}: format={about.get('format')!r}; allowed: {FORMAT!r}")
            residual, radius, share = map(float, parts.pop("numbers"))
            space = cls(**parts, residual=residual, radius=radius, share=share)
            width = len(space.mean)
            if (space.basis.shape, space.turn.shape) != ((width, WIDTH), (WIDTH, WIDTH)):
                raise CheckpointError(f"space={str(path)!r}: basis {space.basis.shape}; allowed: ({width}, {WIDTH})")
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"space={str(path)!r}: {error}; allowed: a file of icg space fit") from error
        return space, about.get("encoder", "")


class FittedSpace(nn.Module):
    """Pictures -> cover embeddings. Differentiable in the pixels."""

    def __init__(self, encoder: PictureEncoder, projection: Projection) -> None:
        super().__init__()
        self.encoder, self.projection, self.side = encoder, projection, encoder.side
        for name in ("mean", "deviation"):
            self.register_buffer(name, torch.from_numpy(getattr(projection, name).astype(np.float32)))
        self.register_buffer("linear", torch.from_numpy((projection.basis @ projection.turn).astype(np.float32)))

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, side, side) in [-1, 1] -> (B, F)."""
        return self.encoder(pixels)

    def covers(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, 64) unit rows in the space shared with users."""
        return F.normalize((features - self.mean) / self.deviation @ self.linear, dim=-1)

    @classmethod
    def from_pretrained(cls, folder: Path, shipped: Path) -> FittedSpace:
        """`folder`: of `icg space fit`; `shipped`: the dual encoder whose trunk a space without an encoder of its own reads.

        Raises CheckpointError if a part is missing, or if the encoder is not the one that the space was fitted with.
        """
        projection, expected = Projection.load(folder / SPACE_WEIGHTS)
        source = part_of(folder, "encoder") or shipped
        encoder = picture_encoder.load(source)
        if sum(encoder.parts) != len(projection.mean):
            raise CheckpointError(
                f"encoder={str(source)!r} of {sum(encoder.parts)} features; allowed: {len(projection.mean)}, as the space has"
            )
        if picture_encoder.digest(encoder) != expected:
            raise CheckpointError(
                f"encoder={str(source)!r} has other weights than the space {str(folder)!r} was fitted with; allowed: those"
            )
        return cls(encoder, projection).eval().requires_grad_(False)


def write_json(path: Path, data: object) -> None:
    """Indented, for people."""
    path.write_text(json.dumps(data, indent=2) + "\n")
