"""Trained products by id, as they lie in a folder now. Safe to call from any thread; knows no request.

A product is read when first asked for and again whenever its record changes; what was given out stays as it is.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
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
SHOWN = 10
"""Ids that a refusal names."""


@dataclass(frozen=True, eq=False)
class Trained:
    """`tensors`, by method: {"vectors": (n, D_vlm)}, the denoiser's low-rank weights, or what to add to each of its weights."""

    record: Record
    tensors: dict[str, Tensor]

    @property
    def key(self) -> str:
        """See Record."""
        return self.record.key

    @property
    def vectors(self) -> Tensor | None:
        """What stands for the product among the VLM's input embeddings."""
        return self.tensors[VECTORS] if self.record.method == TEXTUAL_INVERSION else None

    @property
    def lora(self) -> bool:
        """Whether it is low-rank weights."""
        return self.record.method == DREAMBOOTH

    @property
    def whole(self) -> bool:
        """Whether all weights of the denoiser differ."""
        return self.record.method == FULL

    @cached_property
    def form(self) -> str:
        """Equal for products whose tensors have equal names and shapes."""
        shapes = sorted((name, *value.shape) for name, value in self.tensors.items())
        return hashlib.sha256(repr(shapes).encode()).hexdigest()

    @cached_property
    def blank(self) -> Trained:
        """Random numbers of the same form, to try out what depends on shapes alone."""
        random = torch.Generator().manual_seed(0)
        drawn = {name: torch.randn(value.shape, generator=random) * 0.02 for name, value in self.tensors.items()}
        stated = self.record.__dict__ | {"weights": f"{self.form}.safetensors"}
        return Trained(Record(**stated), drawn)

    def texts(self, title: str) -> tuple[str, str]:
        """What the VLM reads before and after the vectors; without vectors all of it comes before."""
        before, after = self.record.around(title)
        if self.vectors is not None:
            return before, after
        return f"{before}{RARE} {self.record.kind}{after}", ""


class Library:
    """The products in `folder`. At most `keep` of them are held in memory, those asked for last."""

    def __init__(self, folder: str | Path, keep: int = 32) -> None:
        self.folder = Path(folder)
        self._kept: LRUCache[str, tuple[tuple[int, ...], Trained]] = LRUCache(keep)
        self._lock = threading.Lock()

    def ids(self) -> list[str]:
        """Of the products that are there now."""
        return records.ids(self.folder)

    def get(self, id: str) -> Trained:
        """Raises BriefError for a text that is no id, UnknownProduct for an id that is not here, CheckpointError for a broken record or
        broken weights."""
        path = self.folder / check_id(id) / RECORD
        with self._lock:
            try:
                stat = path.stat()
            except OSError:
                self._kept.pop(id, None)
                raise self._unknown(id) from None
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            known = self._kept.get(id)
            if known is None or known[0] != stamp:
                known = self._kept[id] = stamp, self._read(id)
            return known[1]

    def _read(self, id: str) -> Trained:
        for _ in range(2):  # a second time where the product was trained anew between the two files
            record = records.read(self.folder, id)
            if record is None:
                raise self._unknown(id)
            path = self.folder / id / record.weights
            if path.is_file():
                break
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"product_id={id!r}: {record.weights} is not readable ({error}); allowed: train it again"
            ) from error
        if (record.method == TEXTUAL_INVERSION and [v.ndim for v in tensors.values()] != [2]) or not tensors:
            raise CheckpointError(f"product_id={id!r}: {sorted(tensors)[:3]}; allowed: weights of {record.method}")
        return Trained(record, tensors)

    def _unknown(self, id: str) -> UnknownProduct:
        here = self.ids()
        names = ", ".join(here[:SHOWN]) + (f" and {len(here) - SHOWN} more" if len(here) > SHOWN else "")
        return UnknownProduct(f"product_id={id!r}; allowed: {names or 'none, no product is trained here'}")


def base_of(*parts: nn.Module) -> str:
    """sha256 that tells checkpoints apart: names, shapes and some numbers of every weight, the same in any precision."""
    state, some = hashlib.sha256(), []
    for part in parts:
        for name, value in part.named_parameters():
            state.update(f"{name}{tuple(value.shape)}".encode())
            flat = value.detach().reshape(-1)
            some.append(flat[:: max(1, len(flat) // 8)][:8].to(torch.bfloat16))
    state.update(torch.cat(some).float().cpu().numpy().tobytes())
    return state.hexdigest()
