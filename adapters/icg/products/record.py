"""What is kept of a trained product: `FOLDER/<id>/product.json` and one safetensors file that it names. Knows no model.

The weights' file carries their digest in its name and is written first; the record replaces its predecessor in one step. So a reader
sees the old product or the new one, never a half of either, and a product without a record is not there.
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
"""Where a title says its product."""
RARE = "sks"
"""A word that says nothing yet stands before the class (arXiv:2208.12242, section 3.2)."""


@dataclass(frozen=True)
class Record:
    """`kind`: the class in words. `base`: digest of the checkpoint it was trained on. `pictures`: sha256 of each.

    `alike`: mean similarity of its pictures. `seconds` and `memory_mb` of training. Raises CheckpointError for what is no record.
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
    made: str

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise CheckpointError(f"product method={self.method!r}; allowed: {', '.join(METHODS)}")
        if not re.fullmatch(r"[0-9a-f]{64}\.safetensors", self.weights):
            raise CheckpointError(f"product weights={self.weights!r}; allowed: a digest, .safetensors")

    @property
    def key(self) -> str:
        """Changes whenever the product is trained anew."""
        return f"{self.id}@{self.weights[:16]}"

    def around(self, title: str) -> tuple[str, str]:
        """What of `title` stands before and after the product: {product} or else its class says where, else it is named first."""
        before, place, after = title.partition(PLACE)
        if not place and (found := re.search(rf"\b{re.escape(self.kind)}\b", title, re.IGNORECASE)):
            before, after = title[: found.start()], title[found.end() :]
        elif not place:
            before, after = "", f", {title}" if title.strip() else ""
        return before, after

    def plain(self, title: str) -> str:
        """`title` in words that anybody knows."""
        return self.kind.join(self.around(title))


def read(folder: Path, id: str) -> Record | None:
    """None where there is no such product; CheckpointError where its record is broken, BriefError for an id that is none."""
    path = folder / check_id(id) / RECORD
    try:
        stated = json.loads(path.read_bytes())
        record = Record(**stated | {"pictures": tuple(stated["pictures"]), "size": tuple(stated["size"])})
    except FileNotFoundError:
        return None
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, OSError) as error:
        names = ", ".join(field.name for field in fields(Record))
        raise CheckpointError(
            f"product_id={id!r}: {RECORD} is not usable ({error}); allowed: an object of {names}"
        ) from error
    if record.id != id:
        raise CheckpointError(f"product_id={id!r}: {RECORD} says id={record.id!r}; allowed: the folder's name")
    return record


def ids(folder: Path) -> list[str]:
    """Sorted."""
    if not folder.is_dir():
        return []
    return sorted(p.parent.name for p in folder.glob(f"[!.]*/{RECORD}"))


def write(folder: Path, tensors: Mapping[str, Tensor], **stated: object) -> Record:
    """Keep a product; `stated` is all of its Record but `weights`."""
    data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    record = Record(weights=f"{hashlib.sha256(data).hexdigest()}.safetensors", **stated)  # type: ignore[arg-type]
    home = folder / check_id(record.id)
    home.mkdir(parents=True, exist_ok=True)
    _put(home / record.weights, data)
    _put(home / RECORD, json.dumps(asdict(record), indent=2).encode())
    for other in home.iterdir():
        if other.name not in (record.weights, RECORD):
            other.unlink()
    return record


def remove(folder: Path, id: str) -> bool:
    """Whether there was one. Raises IcgError while it is being trained."""
    check_id(id)
    with training(folder, id):
        was = (folder / id / RECORD).is_file()
        (folder / id / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder / id, ignore_errors=True)
        for work in folder.glob(f".{id}@*"):
            shutil.rmtree(work, ignore_errors=True)
    return was


@contextmanager
def training(folder: Path, id: str) -> Iterator[None]:
    """Nobody else trains or removes this product meanwhile; IcgError where somebody does. The kernel lets go of it after a kill."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{check_id(id)}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise IcgError(
                f"product_id={id!r} is being trained already; allowed: one training of it at a time"
            ) from error
        yield


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
