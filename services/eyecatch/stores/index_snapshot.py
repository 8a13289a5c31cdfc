"""A cover index in one safetensors file, whole or not at all. Knows no thread. Nothing is unpickled.

    rows    float32 (R, D)   the rows that the index below does not hold
    index   uint8 (B,)       Faiss' own bytes of HNSW or IVF-PQ, if there is one
    ids     uint8 (I,)       ids of all positions, UTF-8, with the unit separator between (no id has it)
    dead    int64 (G,)       positions whose rows are gone

The file's metadata names format, kind, dimension and cover space, and a digest of all parts: Faiss reads bytes only after it fits.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from eyecatch.core.errors import StoreDamaged, StoreError, shorten
from eyecatch.stores.index_kinds import Kind, Plan, from_faiss
from eyecatch.stores.index_rows import Rows

FORMAT = "eyecatch cover index 1"
SEPARATOR = "\x1f"


def save(path: Path, rows: Rows, dim: int, space: str) -> None:
    """Write a version of the rows. Raises OSError; then the file is as it was before."""
    base = rows.base
    parts: dict[str, Any] = {
        "ids": np.frombuffer(SEPARATOR.join(rows.ids[: rows.count]).encode(), np.uint8),
        "dead": np.setdiff1d(np.arange(rows.count), rows.alive()),
        "rows": rows.recent[: rows.count - rows.start],
    }
    head: dict[str, Any] = {"kind": str(Kind.FLAT), "dim": dim, "count": rows.count, "trained": 0}
    if base is not None and base.index is not None:
        head |= {"kind": str(base.plan.kind), "trained": base.trained}
        parts["index"] = faiss.serialize_index(base.index)
    if base is not None and base.plan.kind is not Kind.HNSW:
        parts["rows"] = np.concatenate([base.rows, parts["rows"]])
    text = json.dumps(head, sort_keys=True)
    metadata = {"format": FORMAT, "space": space, "head": text, "digest": _digest(parts, space + text)}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(parts, part, metadata)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except SafetensorError as error:  # what the library makes of a full disk
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the new name may be lost with the power
    finally:
        os.close(folder)


def load(path: Path, dim: int, space: str) -> Rows:
    """The rows of a snapshot. Raises FileNotFoundError, StoreDamaged, and StoreError for another format, dimension or cover space."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise StoreError(f"{path}: format {shorten(metadata.get('format', ''))}; allowed: {FORMAT!r}")
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if metadata.get("digest") != _digest(parts, metadata.get("space", "") + metadata.get("head", "")):
        raise _damaged(path, "its digest does not fit")
    if metadata["space"] != space:
        raise StoreError(f"{path}: covers of another space, {shorten(metadata['space'])}; allowed: {space!r}")
    try:
        head = json.loads(metadata["head"])
        if head["dim"] != dim:
            raise StoreError(f"{path}: rows of {head['dim']} numbers; allowed: {dim}")
        return _rows(parts, head, dim)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:  # RuntimeError: Faiss refused
        raise _damaged(path, error) from error


def _rows(parts: Mapping[str, Any], head: Mapping[str, Any], dim: int) -> Rows:
    text = parts["ids"].tobytes().decode()
    ids, rows, base = text.split(SEPARATOR) if head["count"] else [], parts["rows"], None
    if "index" in parts:
        kind = Kind(head["kind"])
        index = faiss.deserialize_index(parts["index"])
        base = from_faiss(Plan(kind), index, rows, dim, head["trained"])
        rows = rows if kind is Kind.HNSW else rows[index.ntotal :]
    if rows.ndim != 2 or rows.shape[1] != dim or len(ids) != head["count"]:
        raise ValueError(f"{len(ids)} ids and rows {rows.shape}; allowed: {head['count']} of {dim} numbers")
    if len(ids) != (base.count if base else 0) + len(rows):
        raise ValueError(f"{len(ids)} ids of {(base.count if base else 0) + len(rows)} rows")
    dead = parts["dead"]
    if dead.dtype != np.int64 or dead.ndim != 1 or (np.diff(dead, prepend=-1, append=len(ids)) < 1).any():
        raise ValueError("positions of rows that are gone; allowed: ascending ones")
    loaded = Rows.of(ids, rows, base, dead)
    if len({ids[p] for p in loaded.alive().tolist()}) != loaded.live:
        raise ValueError("an id twice")
    return loaded


def _digest(parts: Mapping[str, Any], text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=32)
    for name in sorted(parts):
        array = np.ascontiguousarray(parts[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()


def _damaged(path: Path, why: object) -> StoreDamaged:
    return StoreDamaged(
        f"{path} is no whole snapshot of a cover index ({why}); allowed: one that `eyecatch serve` wrote"
    )
