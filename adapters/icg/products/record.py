"""A trained product on disk: `FOLDER/<id>/product.json` and one safetensors file that it names. Knows no model.

The weights' file has their digest in its name and is written first; then the record replaces the old one atomically. So a reader sees
the old product or the new one, never a mixture, and a product without a record does not exist.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from icg.brief import check_id
from icg.errors import CheckpointError, IcgError

TEXTUAL_INVERSION, DREAMBOOTH, FULL = METHODS = ("textual-inversion", "dreambooth", "dreambooth-full")
RECORD = "product.json"
PLACE = "{product}"
"""The product's place in a title."""
RARE = "sks"
"""A word without a meaning, put before the class (arXiv:2208.12242, section 3.2)."""


@dataclass(frozen=True)
class Record:
    """`kind`: the class in words. `base`: digest of the checkpoint it was trained on. `pictures`: sha256 of each.

    `alike`: mean similarity of its pictures. `seconds` and `memory_mb` of training. `created`: an ISO time, `made` in the file.
    Raises CheckpointError for an invalid method or weights.
    """

    id: str
    kind: str
    method: str
    weights: str
    base: str
    base_name: str
    steps: int
    lr: float
    seed: int
    size: tuple[int, int]
    rank: int
    vectors: int
    prior: bool
    pictures: tuple[str, ...]
    alike: float
    seconds: float
    memory_mb: int
    created: str

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise CheckpointError(f"product method={self.method!r}; allowed: {', '.join(METHODS)}")
        if not re.fullmatch(r"[0-9a-f]{64}\.safetensors", self.weights):
            raise CheckpointError(f"product weights={self.weights!r}; allowed: a digest, .safetensors")

    def to_dict(self) -> dict[str, object]:
        """The values of product.json."""
        values = asdict(self)
        values["made"] = values.pop("created")
        return values

    @property
    def key(self) -> str:
        """Identifies the product and its training: it changes when the product is trained again."""
        return f"{self.id}@{self.weights[:16]}"

    def around(self, title: str) -> tuple[str, str]:
        """The text before and after the product in `title`: at {product}, else at its class, else the product comes first."""
        before, place, after = title.partition(PLACE)
        if not place and (match := re.search(rf"\b{re.escape(self.kind)}\b", title, re.IGNORECASE)):
            before, after = title[: match.start()], title[match.end() :]
        elif not place:
            before, after = "", f", {title}" if title.strip() else ""
        return before, after

    def plain(self, title: str) -> str:
        """`title` with the class in the product's place."""
        return self.kind.join(self.around(title))


def read(folder: Path, id: str) -> Record | None:
    """None if there is no such product. Raises CheckpointError for a broken record, BriefError for an invalid id."""
    path = folder / check_id(id) / RECORD
    try:
        stored = json.loads(path.read_bytes())
        lists = {"pictures": tuple(stored["pictures"]), "size": tuple(stored["size"]), "created": stored.pop("made")}
        record = Record(**stored | lists)
    except FileNotFoundError:
        return None
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, OSError) as error:
        names = ", ".join(field.name for field in fields(Record)).replace("created", "made")
        raise CheckpointError(
            f"product_id={id!r}: {RECORD} is not usable ({error}); allowed: an object of {names}"
        ) from error
    if record.id != id:
        raise CheckpointError(f"product_id={id!r}: {RECORD} says id={record.id!r}; allowed: the folder's name")
    return record


def ids(folder: Path) -> list[str]:
    """The ids of all products in the folder, sorted."""
    if not folder.is_dir():
        return []
    return sorted(p.parent.name for p in folder.glob(f"[!.]*/{RECORD}"))


def write(folder: Path, tensors: Mapping[str, Tensor], **values: object) -> Record:
    """Store a product. values: all fields of its Record but `weights`."""
    data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    record = Record(weights=f"{hashlib.sha256(data).hexdigest()}.safetensors", **values)  # type: ignore[arg-type]
    home = folder / check_id(record.id)
    home.mkdir(parents=True, exist_ok=True)
    _replace(home / record.weights, data)
    _replace(home / RECORD, json.dumps(record.to_dict(), indent=2).encode())
    for path in home.iterdir():
        if path.name not in (record.weights, RECORD):
            path.unlink()
    return record


def remove(folder: Path, id: str) -> bool:
    """Delete a product; whether there was one. Raises IcgError while it is being trained."""
    check_id(id)
    with training(folder, id):
        existed = (folder / id / RECORD).is_file()
        (folder / id / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder / id, ignore_errors=True)
        for work in folder.glob(f".{id}@*"):
            shutil.rmtree(work, ignore_errors=True)
    return existed


@contextmanager
def training(folder: Path, id: str) -> Iterator[None]:
    """Lock this product against another training and removal; IcgError if it is locked. The kernel frees the lock of a killed process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{check_id(id)}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise IcgError(
                f"product_id={id!r} is being trained already; allowed: one training of it at a time"
            ) from error
        yield


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
