"""Reads folders and safetensors files of rewards; checks them before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from icg.errors import CheckpointError

CONVERT = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    "w = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
    "w = w.get('state_dict', w); save_file({k: v.contiguous() for k, v in w.items()}, sys.argv[2])\""
)
"""Converts a pickled checkpoint to safetensors; torch's weights-only reader runs no code from the file."""


def check_folder(field: str, folder: str | Path, *names: str) -> Path:
    """The folder. Raises CheckpointError if it or one of the files `names` is missing."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{field}={str(folder)!r}: not a folder here; allowed: a downloaded one")
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"{field}={str(folder)!r}: {name} is missing; found: {_file_names(folder)}")
    return folder


def read_weights(field: str, path: str | Path) -> dict[str, Tensor]:
    """A safetensors file as float32. CheckpointError for anything else; for a pickle it names the command that converts it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{field}={str(path)!r}: no such file; allowed: a .safetensors file")
    if path.suffix != ".safetensors":
        target = path.with_suffix(".safetensors")
        raise CheckpointError(
            f"{field}={str(path)!r}: pickles are not read; allowed: .safetensors. To convert: {CONVERT} {path} {target}"
        )
    try:
        return {k: v.float() for k, v in load_file(path).items()}
    except SafetensorError as error:
        raise CheckpointError(f"{field}={str(path)!r}: {error}; allowed: a .safetensors file") from error


def frozen(model: Any) -> Any:
    """The model in evaluation mode, without gradients for its weights."""
    return model.eval().requires_grad_(False)


def _file_names(folder: Path) -> str:
    return ", ".join(sorted(p.name for p in folder.iterdir())[:12]) or "nothing"
