"""Trained products by id, read from a folder that may change. Safe to call from any thread; knows no request.

A product is read at its first use and again when its record has changed; objects that were returned before do not change.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from cachetools import LRUCache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from icg.brief import check_id
from icg.errors import CheckpointError, UnknownProduct
from icg.products import record as records
from icg.products.record import DREAMBOOTH, FULL, RARE, RECORD, TEXTUAL_INVERSION, Record

VECTORS = "vectors"
MAX_NAMES = 10
"""Ids in an error message."""


@dataclass(frozen=True, eq=False)
class TrainedProduct:
    """`tensors`, by method: {"vectors": (n, D_vlm)}, the denoiser's low-rank weights, or differences to each of its weights."""

    record: Record
    tensors: dict[str, Tensor]

    @property
    def key(self) -> str:
        """See Record."""
        return self.record.key

    @property
    def vectors(self) -> Tensor | None:
        """(n, D_vlm): input embeddings of the VLM in place of the product's word; None for other methods."""
        return self.tensors[VECTORS] if self.record.method == TEXTUAL_INVERSION else None

    @property
    def lora(self) -> bool:
        """Whether its tensors are low-rank weights."""
        return self.record.method == DREAMBOOTH

    @property
    def whole(self) -> bool:
        """Whether its tensors change all weights of the denoiser."""
        return self.record.method == FULL

    @cached_property
    def form(self) -> str:
        """A digest, equal for products whose tensors have equal names and shapes."""
        shapes = sorted((name, *value.shape) for name, value in self.tensors.items())
        return hashlib.sha256(repr(shapes).encode()).hexdigest()

    @cached_property
    def blank(self) -> TrainedProduct:
        """A product of the same form with random tensors, for tests of what depends on shapes only."""
        random = torch.Generator().manual_seed(0)
        tensors = {name: torch.randn(value.shape, generator=random) * 0.02 for name, value in self.tensors.items()}
        return TrainedProduct(replace(self.record, weights=f"{self.form}.safetensors"), tensors)

    def texts(self, title: str) -> tuple[str, str]:
        """The VLM's text before and after the vectors; without vectors the whole text comes before."""
        before, after = self.record.around(title)
        if self.vectors is not None:
            return before, after
        return f"{before}{RARE} {self.record.kind}{after}", ""


class Library:
    """The products in `folder`. At most `keep` of them are in memory, the most recently used ones."""

    def __init__(self, folder: str | Path, keep: int = 32) -> None:
        self.folder = Path(folder)
        self._loaded: LRUCache[str, tuple[tuple[int, int, int], TrainedProduct]] = LRUCache(keep)
        self._lock = threading.Lock()

    def ids(self) -> list[str]:
        """The ids of the products in the folder now."""
        return records.ids(self.folder)

    def get(self, id: str) -> TrainedProduct:
        """Raises BriefError for a text that is not an id, UnknownProduct for an id without a product, CheckpointError for a broken
        record or broken weights."""
        path = self.folder / check_id(id) / RECORD
        with self._lock:
            while (stamp := _stamp(path)) is not None:
                entry = self._loaded.get(id)
                if entry is not None and entry[0] == stamp:
                    return entry[1]
                try:
                    product = self._read(id)
                except CheckpointError:
                    # A writer that replaces the record deletes the old weights: read the new ones.
                    if _stamp(path) == stamp:
                        raise
                    continue
                self._loaded[id] = stamp, product
                return product
            self._loaded.pop(id, None)
            raise self._unknown(id)

    def _read(self, id: str) -> TrainedProduct:
        record = records.read(self.folder, id)
        if record is None:
            raise self._unknown(id)
        try:
            tensors = load_file(self.folder / id / record.weights)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"product_id={id!r}: {record.weights} is not readable ({error}); allowed: train it again"
            ) from error
        if (record.method == TEXTUAL_INVERSION and [v.ndim for v in tensors.values()] != [2]) or not tensors:
            raise CheckpointError(f"product_id={id!r}: {sorted(tensors)[:3]}; allowed: weights of {record.method}")
        return TrainedProduct(record, tensors)

    def _unknown(self, id: str) -> UnknownProduct:
        ids = self.ids()
        names = ", ".join(ids[:MAX_NAMES]) + (f" and {len(ids) - MAX_NAMES} more" if len(ids) > MAX_NAMES else "")
        return UnknownProduct(f"product_id={id!r}; allowed: {names or 'none, no product is trained here'}")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes with every write of a file; None for no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def base_of(*parts: nn.Module) -> str:
    """sha256 that identifies a checkpoint: names, shapes and a few values of every weight, equal in any precision."""
    state, samples = hashlib.sha256(), []
    for part in parts:
        for name, value in part.named_parameters():
            state.update(f"{name}{tuple(value.shape)}".encode())
            flat = value.detach().reshape(-1)
            samples.append(flat[:: max(1, len(flat) // 8)][:8].to(torch.bfloat16))
    state.update(torch.cat(samples).float().cpu().numpy().tobytes())
    return state.hexdigest()
