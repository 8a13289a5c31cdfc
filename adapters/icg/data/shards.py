"""Tensors by key on disk: half-precision safetensors shards and a JSON-lines index that names those that are whole.

A shard is written under another name, flushed to the disk, renamed, and only then named in the index: after `kill -9` what the
index says is there. One process writes. Knows no model.
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
"""Tensors in one."""
OPEN = 16
"""Shards that are kept open: they are mapped, not read."""


class Shards:
    """`folder` holds index.jsonl and the shards it names; torn lines, and shards of another size than stated, are not trusted."""

    def __init__(self, folder: Path, shard: int = SHARD) -> None:
        self.folder, self.shard = folder, shard
        folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._waiting: dict[str, Tensor] = {}
        self._open: LRUCache[str, Any] = LRUCache(OPEN)
        self._next = 0
        self._load()

    def __contains__(self, key: str) -> bool:
        """Whether it has been put, on the disk or still waiting for its shard."""
        return key in self._where or key in self._waiting

    def __len__(self) -> int:
        return len(self._where) + len(self._waiting)

    def put(self, key: str, tensor: Tensor) -> None:
        """Keep a copy in half precision; on the disk when a shard is full, or by `flush`. IcgError when it does not fit in half
        precision."""
        half = tensor.detach().to("cpu", torch.float16, copy=True).contiguous()
        if not torch.isfinite(half).all():
            raise IcgError(f"tensor={key!r} holds NaN, infinity or more than 65504; allowed: what float16 can hold")
        self._waiting[key] = half
        if len(self._waiting) >= self.shard:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
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
        self._where |= {key: (name, tuple(shape)) for key, shape in shapes.items()}
        self._waiting, self._next = {}, self._next + 1

    def shape(self, key: str) -> tuple[int, ...]:
        """Of a tensor that is there, without reading it."""
        return self._where[key][1] if key in self._where else tuple(self._waiting[key].shape)

    def get(self, key: str) -> Tensor:
        """The tensor, float16. Raises IcgError for a key that is not there."""
        if key in self._waiting:
            return self._waiting[key]
        if key not in self._where:
            raise IcgError(f"tensor={key!r} is not in {str(self.folder)!r}; allowed: what has been put")
        name = self._where[key][0]
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
        if len(whole) < len(lines):  # or the next line would be glued to a torn one
            with index.with_suffix(".tmp").open("wb") as file:
                file.writelines(whole)
                file.flush()
                os.fsync(file.fileno())
            os.replace(index.with_suffix(".tmp"), index)
            _sync(self.folder)

    def _trust(self, line: bytes) -> bool:
        try:
            stated = json.loads(line)
            name, shapes = str(stated["shard"]), stated["shapes"]
            number, path = int(name.removesuffix(".safetensors")), self.folder / name
            good = line.endswith(b"\n") and path.parent == self.folder and path.stat().st_size == stated["bytes"]
            found = {key: (name, tuple(map(int, shape))) for key, shape in shapes.items()}
        except (ValueError, TypeError, KeyError, AttributeError, OSError):
            return False
        if good:
            self._where |= found
            self._next = max(self._next, number + 1)
        return good


def _sync(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
