"""The results of a recall job on disk, so that a job that was killed goes on where it stopped and ends with the same figures.

Each result is a file of its own, written whole or not at all. Knows no ranker.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from icg.evaluate.ranking import Ranks

from eyecatch.core.errors import InvalidInput
from eyecatch.evaluate.behaviour import BehaviourTable


class RunFolder:
    """`folder`: the run folder. `digest`: of the data and the settings. Raises InvalidInput if the folder has results of others."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "job.json"
        stored = json.loads(path.read_text())["digest"] if path.is_file() else digest
        if stored != digest:
            raise InvalidInput.of("out", str(folder), "a new folder: this one has results of other data or settings")
        _write(path, json.dumps({"digest": digest}).encode())

    def numbers(self, name: str, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """What `make` returned the first time, as JSON."""
        path = self.folder / f"{_file(name)}.json"
        if not path.is_file():
            _write(path, json.dumps(make()).encode())
        stored: Mapping[str, Any] = json.loads(path.read_text())
        return stored

    def ranks(self, name: str, make: Callable[[], Ranks]) -> Ranks:
        """What `make` returned the first time."""
        path = self.folder / f"{_file(name)}.npz"
        if not path.is_file():
            part = path.with_suffix(".tmp.npz")
            np.savez(part, **asdict(make()))
            os.replace(part, path)
        with np.load(path, allow_pickle=False) as stored:
            return Ranks(stored["rank"], stored["top"])


def digest(behaviour: BehaviourTable, settings: object, encoder: int) -> str:
    """Of all that the figures depend on: events, items, covers, settings (a dataclass) and the version of the profiles' encoder."""
    total = hashlib.sha256(json.dumps([repr(settings), encoder, list(behaviour.users)]).encode())
    total.update(json.dumps([(i.id, i.title, i.category) for i in behaviour.items]).encode())
    table, covers = behaviour.table, behaviour.covers
    for column in (table.user, table.item, table.time, table.action, covers.rows, covers.item_of, covers.taste):
        total.update(np.ascontiguousarray(column).tobytes())
    total.update(json.dumps(covers.made_for).encode())
    return total.hexdigest()


def _file(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".tmp")
    part.write_bytes(data)
    os.replace(part, path)
