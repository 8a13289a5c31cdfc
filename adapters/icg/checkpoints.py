"""What a folder's weights are, from the headers of its safetensors files alone, and the device they go to. Knows no model.

Never opens a pickle. The file format: eight bytes of length, then that much JSON of names, dtypes and shapes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from icg.errors import CheckpointError, IcgError

if TYPE_CHECKING:
    import torch

TRANSFORMERS, DIFFUSERS = "model", "diffusion_pytorch_model"
"""How the two libraries name their files."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Opening one of these may run code that somebody else wrote."""
MAX_HEADER = 100_000_000


def weights(part: str, folder: Path, stem: str = TRANSFORMERS) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a loader would read in `folder`; `part` names it in errors, `stem` the files.

    Raises CheckpointError when the folder, its safetensors or one of their shards is missing or broken.
    """
    if not folder.is_dir():
        raise _no_folder(part, folder)
    found: dict[str, tuple[int, ...]] = {}
    for path in _files(part, folder, stem):
        if not path.is_file():
            raise CheckpointError(f"{part}={str(folder)!r}: {path.name} is missing; allowed: every shard of the index")
        found |= _header(part, path)
    return found


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    """How many numbers."""
    return sum(math.prod(shape) for shape in shapes.values())


def read_json(part: str, path: Path) -> dict[str, object]:
    """The object in a JSON file; CheckpointError when it is missing or not one."""
    if not path.parent.is_dir():
        raise _no_folder(part, path.parent)
    if not path.is_file():
        raise CheckpointError(
            f"{part}={str(path.parent)!r}: {path.name} is missing; allowed: a whole checkpoint folder"
        )
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{part}={str(path)!r}: not JSON ({error}); allowed: one object") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{part}={str(path)!r}: holds a {type(found).__name__}; allowed: one object")
    return found


def check_device(device: str | torch.device) -> torch.device:
    """The device as torch knows it. Raises IcgError for one that this machine does not have."""
    import torch  # here, because reading headers must not wait for torch

    try:
        known = torch.device(device)
        torch.empty(0, device=known)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise IcgError(f"device={str(device)!r}; allowed: cpu or an accelerator torch can use here") from error
    return known


def _no_folder(part: str, folder: Path) -> CheckpointError:
    return CheckpointError(f"{part}={str(folder)!r}: no such folder; allowed: a checkpoint folder on this machine")


def _files(part: str, folder: Path, stem: str) -> list[Path]:
    whole, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        shards = read_json(part, index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise CheckpointError(f"{part}={str(index)!r}: weight_map={shards!r}; allowed: names and their shards")
        return [folder / Path(str(shard)).name for shard in sorted(set(shards.values()))]
    wanted = f"allowed: {whole.name}, or its shards and their index"
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickled:
        raise CheckpointError(f"{part}={str(folder)!r}: only pickled weights ({pickled[0]}); {wanted}")
    raise CheckpointError(f"{part}={str(folder)!r}: {whole.name} is missing; {wanted}")


def _header(part: str, path: Path) -> dict[str, tuple[int, ...]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise CheckpointError(
                f"{part}={str(path)!r}: header of {length} bytes in a file of {size}; allowed: safetensors"
            )
        try:
            stated = json.loads(file.read(length))
            stated.pop("__metadata__", None)
            ends = max((entry["data_offsets"][1] for entry in stated.values()), default=0)
            shapes = {name: tuple(int(edge) for edge in entry["shape"]) for name, entry in stated.items()}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise CheckpointError(f"{part}={str(path)!r}: header is broken ({error}); allowed: safetensors") from error
    if ends != size - 8 - length:
        raise CheckpointError(
            f"{part}={str(path)!r}: {size - 8 - length} bytes of weights where the header says {ends}; allowed: a whole file"
        )
    return shapes
