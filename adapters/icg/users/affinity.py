"""Which of an item's pictures a user prefers: a matrix between the embeddings of pictures and those of users, learned from choices.

The dot product ranks covers, whose palettes differ most; between the pictures of one item other directions matter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from icg.checkpoints import has_own_space
from icg.errors import CheckpointError

PART, FILE, NAME = "choice", "affinity.safetensors", "affinity"


def affinity(root: str | Path, space: Path | None = None) -> np.ndarray | None:
    """(D, D): a picture (D,) times it times a user (D,) is how much the user prefers the picture. None without choice/, and for another
    `space` than the checkpoint's own. Raises CheckpointError for a file that cannot be read or is not a square of finite numbers."""
    path = Path(root) / PART / FILE
    if not path.is_file() or space is not None or not has_own_space(Path(root)):
        return None
    try:
        values = load_file(path)[NAME].astype(np.float32)
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(
            f"choice={str(path)!r}: not readable ({error}); allowed: one of `icg train choice`"
        ) from error
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not np.isfinite(values).all():
        raise CheckpointError(f"choice={str(path)!r} of shape {values.shape}; allowed: a square of finite numbers")
    return values


def save(root: Path, values: np.ndarray) -> None:
    """Write choice/ of the checkpoint folder `root`. values: (D, D)."""
    (root / PART).mkdir(parents=True, exist_ok=True)
    save_file({NAME: values.astype(np.float16)}, root / PART / FILE)
