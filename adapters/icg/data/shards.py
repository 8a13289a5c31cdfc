"""Tensors by key on disk: half-precision safetensors shards and a JSON-lines index of the complete shards.

A shard is written under another name, flushed to the disk, renamed, and only then added to the index: after `kill -9` every shard of the
index exists. Only one process may write. Knows no model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from cachetools import LRUCache
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from icg.errors import IcgError

SHARD = 256
"""Tensors of a shard."""
OPEN = 16
"""Shards that stay open: they are mapped, not read."""


class Shards:
    """`folder` holds index.jsonl and its shards; incomplete lines, and shards of another size than in the index, are ignored."""

    def __init__(self, folder: Path, shard: int = SHARD) -> None:
        self.folder, self.shard = folder, shard
        folder.mkdir(parents=True, exist_ok=True)
        self._index: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._waiting: dict[str, Tensor] = {}
        self._open: LRUCache[str, Any] = LRUCache(OPEN)
        self._next = 0
        self._load()

    def __contains__(self, key: str) -> bool:
        """Whether it was put, and is on the disk or waits for its shard."""
        return key in self._index or key in self._waiting

    def __len__(self) -> int:
        return len(self._index) + len(self._waiting)

    def put(self, key: str, tensor: Tensor) -> None:
        """Store a copy in half precision; it is on the disk when its shard is full or after `flush`. Raises IcgError if it does not fit
        in half precision."""
        half = tensor.detach().to("cpu", torch.float16, copy=True).contiguous()
        if not torch.isfinite(half).all():
            raise IcgError(f"tensor={key!r} holds NaN, infinity or more than 65504; allowed: values of float16")
        self._waiting[key] = half
        if len(self._waiting) >= self.shard:
            self.flush()

    def flush(self) -> None:
        """Write the waiting tensors as a shard."""
        if not self._waiting:
            return
        name = f"{self._next:06}.safetensors"
        data = save(self._waiting)
        with (self.folder / f"{name}.tmp").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.folder / f"{name}.tmp", self.folder / name)
        _sync(self.folder)
        shapes = {key: list(tensor.shape) for key, tensor in self._waiting.items()}
        with (self.folder / "index.jsonl").open("a") as file:
            file.write(json.dumps({"shard": name, "bytes": len(data), "shapes": shapes}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._index |= {key: (name, tuple(shape)) for key, shape in shapes.items()}
        self._waiting, self._next = {}, self._next + 1

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a stored tensor, without reading it."""
        return self._index[key][1] if key in self._index else tuple(self._waiting[key].shape)

    def get(self, key: str) -> Tensor:
        """The tensor, float16. Raises IcgError for an unknown key."""
        if key in self._waiting:
            return self._waiting[key]
        if key not in self._index:
            raise IcgError(f"tensor={key!r} is not in {str(self.folder)!r}; allowed: what has been put")
        name = self._index[key][0]
        shard = self._open.get(name)
        if shard is None:
            shard = self._open[name] = safe_open(self.folder / name, framework="pt")
        return shard.get_tensor(key)

    def _load(self) -> None:
        for old in self.folder.glob("*.tmp"):
            old.unlink()
        index = self.folder / "index.jsonl"
        lines = index.read_bytes().splitlines(keepends=True) if index.is_file() else []
        whole = [line for line in lines if self._trust(line)]
        if len(whole) < len(lines):  # else the next line would be appended to an incomplete one
            with index.with_suffix(".tmp").open("wb") as file:
                file.writelines(whole)
                file.flush()
                os.fsync(file.fileno())
            os.replace(index.with_suffix(".tmp"), index)
            _sync(self.folder)

    def _trust(self, line: bytes) -> bool:
        try:
            entry = json.loads(line)
            name, shapes = str(entry["shard"]), entry["shapes"]
            number, path = int(name.removesuffix(".safetensors")), self.folder / name
            good = line.endswith(b"\n") and path.parent == self.folder and path.stat().st_size == entry["bytes"]
            tensors = {key: (name, tuple(map(int, shape))) for key, shape in shapes.items()}
        except (ValueError, TypeError, KeyError, AttributeError, OSError):
            return False
        if good:
            self._index |= tensors
            self._next = max(self._next, number + 1)
        return good


def _sync(folder: Path) -> None:
    """A rename is on the disk only after its folder is flushed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
