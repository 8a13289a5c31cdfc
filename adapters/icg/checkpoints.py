"""Folders of weights: shapes from the headers of safetensors files, modules written and read, and the device. Knows no model.

Never opens a pickle. The file format: eight bytes of length, then that much JSON of names, dtypes and shapes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from icg.errors import CheckpointError, IcgError

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

    M = TypeVar("M", bound=Module)

TRANSFORMERS, DIFFUSERS = "model", "diffusion_pytorch_model"
"""The names of the two libraries' files."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Opening one of these may run foreign code."""
VARIANTS = ("fp16", "bf16")
"""Precisions that published folders name in their files."""
MAX_HEADER = 100_000_000
SHIPPED = Path(__file__).parent / "starter"
"""The checkpoint that comes with the package."""
SPACE, SPACE_WEIGHTS = "space", "projection.safetensors"
"""The folder of a checkpoint's own cover space, and the file of a space by which two spaces differ."""


def weights(part: str, folder: Path, stem: str = TRANSFORMERS) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a loader would read from `folder`; `part` names it in errors, `stem` the files.

    Raises CheckpointError if the folder, its safetensors or one of their shards is missing or broken.
    """
    if not folder.is_dir():
        raise _no_folder(part, folder)
    shapes: dict[str, tuple[int, ...]] = {}
    for path in _files(part, folder, stem):
        if not path.is_file():
            raise CheckpointError(f"{part}={str(folder)!r}: {path.name} is missing; allowed: every shard of the index")
        shapes |= _header(part, path)
    return shapes


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    """The number of values in tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes.values())


def read_json(part: str, path: Path) -> dict[str, object]:
    """The object in a JSON file. Raises CheckpointError if the file is missing or holds something else."""
    if not path.parent.is_dir():
        raise _no_folder(part, path.parent)
    if not path.is_file():
        raise CheckpointError(
            f"{part}={str(path.parent)!r}: {path.name} is missing; allowed: a whole checkpoint folder"
        )
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{part}={str(path)!r}: not JSON ({error}); allowed: one object") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{part}={str(path)!r}: holds a {type(value).__name__}; allowed: one object")
    return value


def save_module(folder: Path, config: Mapping[str, object], module: Module, dtype: torch.dtype | None = None) -> None:
    """Write config.json and model.safetensors, floating tensors as `dtype` if there is one."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {k: v.to(dtype) if dtype and v.is_floating_point() else v for k, v in module.state_dict().items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")


def load_module(part: str, folder: Path, build: Callable[[dict[str, Any]], M]) -> M:
    """The module that `build` makes of config.json, with the weights of `save_module` in float32, in eval mode.

    Raises CheckpointError if a file is missing, pickled or broken, or if weights and config.json do not match.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_json(part, folder / "config.json")
    weights(part, folder)
    try:
        module = build(config)
        tensors = load_file(folder / "model.safetensors")
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{part}={str(folder)!r}: does not match its config.json ({error})") from error
    return module.eval()


def space_folder(root: Path, space: Path | None = None) -> Path:
    """The folder of the cover space that goes with a checkpoint `root`: `space`, else its space/, else the starter's.

    Raises CheckpointError for a folder `space` without its weights.
    """
    if space is not None and not (space / SPACE_WEIGHTS).is_file():
        raise CheckpointError(f"space={str(space)!r}: {SPACE_WEIGHTS} is missing; allowed: a folder of icg space fit")
    return space or (root / SPACE if has_own_space(root) else SHIPPED / SPACE)


def has_own_space(root: Path) -> bool:
    """Whether a checkpoint brings the space that its adapter and its user encoder were trained in."""
    return (root / SPACE).is_dir()


def part_of(folder: Path, part: str) -> Path | None:
    """The model `part` of a fitted space: a folder of this name inside of it, so that a space can be moved to another machine with its
    models, else the path in space.json; None for the shipped one."""
    if (folder / part).is_dir():
        return folder / part
    path = read_json("space", folder / "space.json").get(part)
    return Path(str(path)) if path else None


def read_scales(folder: Path) -> dict[str, dict[str, float]]:
    """Name of a reward -> mean and deviation, and optionally weight, of the scales.json of a fitted space; {} for a space without one.

    Raises CheckpointError for a number that is none, and for a deviation that is not above 0.
    """
    path = folder / "scales.json"
    scales = read_json("space", path) if path.is_file() else {}
    for name, scale in scales.items():
        numbers = scale if isinstance(scale, dict) else {}
        finite = all(isinstance(value, int | float) and math.isfinite(value) for value in numbers.values())
        names = {"mean", "deviation"} <= set(numbers) <= {"mean", "deviation", "weight"}
        if not (finite and names and numbers["deviation"] > 0):
            allowed = "mean, deviation above 0 and optionally weight"
            raise CheckpointError(f"space={str(path)!r}: {name}={scale!r}; allowed: {allowed}")
    return scales  # type: ignore[return-value]


def check_device(device: str | torch.device) -> torch.device:
    """The device as a torch.device. Raises IcgError for one that this machine does not have."""
    import torch  # here, because reading headers must not wait for torch

    try:
        result = torch.device(device)
        torch.empty(0, device=result)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise IcgError(f"device={str(device)!r}; allowed: cpu or an accelerator torch can use here") from error
    return result


def _no_folder(part: str, folder: Path) -> CheckpointError:
    return CheckpointError(f"{part}={str(folder)!r}: no such folder; allowed: a checkpoint folder on this machine")


def variant_of(folder: Path, stem: str = TRANSFORMERS) -> str:
    """The precision in the names of a folder's weights, one of VARIANTS, if it has no weights without one; else ""."""
    if any(path.is_file() for path in _names(folder, stem, "")):
        return ""
    return next((v for v in VARIANTS if any(path.is_file() for path in _names(folder, stem, v))), "")


def _names(folder: Path, stem: str, variant: str) -> tuple[Path, Path]:
    """The file of all weights, and the index of shards."""
    dotted = f".{variant}" if variant else ""
    return folder / f"{stem}{dotted}.safetensors", folder / f"{stem}.safetensors.index{dotted}.json"


def _files(part: str, folder: Path, stem: str) -> list[Path]:
    whole, index = _names(folder, stem, variant_of(folder, stem))
    if whole.is_file():
        return [whole]
    if index.is_file():
        shards = read_json(part, index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise CheckpointError(f"{part}={str(index)!r}: weight_map={shards!r}; allowed: names and their shards")
        return [folder / Path(str(shard)).name for shard in sorted(set(shards.values()))]
    allowed = f"allowed: {whole.name}, or its shards and their index"
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickled:
        raise CheckpointError(f"{part}={str(folder)!r}: only pickled weights ({pickled[0]}); {allowed}")
    others = sorted(path.name for path in folder.glob("*.safetensors*"))
    there = f"; there are {', '.join(others[:9])}, and variants {' and '.join(VARIANTS)} are read" if others else ""
    raise CheckpointError(f"{part}={str(folder)!r}: {whole.name} is missing; {allowed}{there}")


def _header(part: str, path: Path) -> dict[str, tuple[int, ...]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise CheckpointError(
                f"{part}={str(path)!r}: header of {length} bytes in a file of {size}; allowed: safetensors"
            )
        try:
            entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            ends = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
            shapes = {name: tuple(int(edge) for edge in entry["shape"]) for name, entry in entries.items()}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise CheckpointError(f"{part}={str(path)!r}: header is broken ({error}); allowed: safetensors") from error
    if ends != size - 8 - length:
        raise CheckpointError(
            f"{part}={str(path)!r}: {size - 8 - length} bytes of weights where the header says {ends}; allowed: a whole file"
        )
    return shapes
