"""Users' vectors of another model -> how such users differ from the mean user: a linear map and its file. numpy only; knows no fit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from icg.errors import CheckpointError

WIDTH = 64
"""Of user embeddings: icg.models.dual has the same, and imports torch."""
PARTS = ("mean", "scale", "slopes")
NUMBERS = ("encoder", "users", "strength", "trust")


@dataclass(frozen=True)
class VectorMap:
    """mean, scale (W,) of the vectors; slopes (W, D) of standardised vectors.

    encoder: the version of the user embeddings that it was fitted to. users: how many. strength: of the ridge, in mean variances.
    trust: how slowly behaviour takes over from a prior. report: what the fit measured; of a map that was read from a file.
    """

    mean: np.ndarray
    scale: np.ndarray
    slopes: np.ndarray
    encoder: int = 0
    users: int = 0
    strength: float = 0.0
    trust: int = 8
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return len(self.mean)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """(N, W) -> float32 (N, D) of at most unit length: the shorter the less a vector says, zeros for the mean vector."""
        rows = ((vectors.astype(np.float64) - self.mean) / self.scale) @ self.slopes
        out: np.ndarray = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1.0)).astype(np.float32)
        return out

    def to_bytes(self, report: str = "{}") -> bytes:
        """A safetensors file, with the numbers, and a report in JSON, in its header."""
        parts = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in PARTS}
        return bytes(save(parts, {name: repr(getattr(self, name)) for name in NUMBERS} | {"report": report}))

    @classmethod
    def from_bytes(cls, data: bytes) -> VectorMap:
        """Raises CheckpointError for anything but a file of `to_bytes`."""
        try:
            parts = {
                name: np.frombuffer(part["data"], "<f4").reshape(part["shape"]) for name, part in deserialize(data)
            }
            mean, scale, slopes = (parts[name] for name in PARTS)
            if mean.ndim != 1 or scale.shape != mean.shape or slopes.shape != (len(mean), WIDTH):
                raise ValueError(f"slopes {slopes.shape}, mean {mean.shape}, scale {scale.shape}")
            if not all(np.isfinite(part).all() for part in parts.values()) or not (scale > 0).all():
                raise ValueError("numbers that are not finite, or a scale of 0")
            header = _metadata(data)
            encoder, users, strength, trust = (header[name] for name in NUMBERS)
            report = dict(json.loads(header["report"]))
            return cls(mean, scale, slopes, int(encoder), int(users), float(strength), int(trust), report)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"map of vectors: {error}; allowed: a file of `eyecatch embeddings fit`") from error


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + size])["__metadata__"]
    return metadata
