"""Outputs of frozen models for a catalogue, computed once: latents of covers, VLM readings of items, cover embeddings.

Every tensor is stored under a key of all that it depends on: existing ones are skipped, and a changed picture, title, size or model is
computed again. Pictures are decoded one at a time, and a few wait for their batch. Knows no training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from icg import pictures
from icg.adapter.model import IcgAdapter
from icg.checkpoints import SPACE_WEIGHTS, space_folder, weights
from icg.data.buckets import Buckets, crop
from icg.data.catalogue import Example, RowReport
from icg.data.shards import Shards
from icg.errors import IcgError
from icg.models import vlm as reading
from icg.models.families import Family
from icg.models.joint import JointEmbedding

READ_SIDE = 512
"""Longer edge in pixels of the VLM's pictures, as the services store pictures of items."""
DECODED = 1024
"""Pictures are decoded to about this many pixels at their shorter edge: enough for the largest cover."""
SAMPLES, PIECE = 16, 65_536
"""Pieces of each weights file, and their bytes, that are hashed besides its header: fine-tuning does not change headers."""


class Kind(Protocol):
    """One kind of tensor about an example."""

    store: Shards

    def key(self, example: Example, picture: str) -> str:
        """The tensor's key; `picture` is the sha256 of the picture file."""
        ...

    def add(self, key: str, example: Example, picture: Image.Image) -> None:
        """Compute the tensor, now or together with others."""
        ...

    def finish(self) -> None:
        """Compute the tensors that still wait and write all to the disk."""
        self.store.flush()


@dataclass(frozen=True)
class PreparedExample:
    """An example and the keys of its tensors, one a kind, in the order of the kinds."""

    example: Example
    keys: tuple[str, ...]


class Latents(Kind):
    """(C, h, w) of the cover, cropped to the nearest bucket, by the family's encoder; `model` is its fingerprint."""

    def __init__(self, folder: Path, family: Family, buckets: Buckets, model: str, batch: int = 8) -> None:
        self.store, self.family, self.buckets, self.batch = Shards(folder), family, buckets, batch
        self._prefix = digest("latent", model, str(buckets))
        self._waiting: dict[tuple[int, int], list[tuple[str, np.ndarray]]] = {}

    def key(self, example: Example, picture: str) -> str:
        """See Kind."""
        return digest(self._prefix, picture)

    def add(self, key: str, example: Example, picture: Image.Image) -> None:
        """See Kind."""
        size = self.buckets.nearest(*picture.size)
        group = self._waiting.setdefault(size, [])
        if all(key != other for other, _ in group):
            group.append((key, np.asarray(crop(picture, size))))
        if len(group) >= self.batch:
            self._encode(self._waiting.pop(size))

    def finish(self) -> None:
        """See Kind."""
        while self._waiting:
            self._encode(self._waiting.popitem()[1])
        self.store.flush()

    @torch.inference_mode()
    def _encode(self, group: list[tuple[str, np.ndarray]]) -> None:
        pixels = torch.from_numpy(np.stack([array for _, array in group])).permute(0, 3, 1, 2).float() / 127.5 - 1
        device = next(self.family.vae.parameters()).device
        for (key, _), latent in zip(group, self.family.encode(pixels.to(device)), strict=True):
            with suppress(IcgError):  # a bad one must not lose the batch's others
                self.store.put(key, latent)


class Readings(Kind):
    """(M, D_vlm) standardised hidden states of the title with the cover or, unless `shown`, of the title alone.

    Valid for the adapter's current meta tokens, centre and spread; `model` is the VLM's fingerprint.
    """

    def __init__(
        self, folder: Path, vlm: Any, processor: Any, adapter: IcgAdapter, model: str, shown: bool = True
    ) -> None:
        self.store, self.vlm, self.processor, self.adapter, self.shown = Shards(folder), vlm, processor, adapter, shown
        fixed = (adapter.meta_tokens.weight, adapter.centre, adapter.spread)
        tokens = hashlib.sha256(b"".join(t.detach().cpu().float().numpy().tobytes() for t in fixed)).hexdigest()
        self._prefix = digest("reading", model, tokens, str(READ_SIDE))

    def key(self, example: Example, picture: str) -> str:
        """See Kind."""
        return digest(self._prefix, example.title, picture if self.shown else "")

    @torch.inference_mode()
    def add(self, key: str, example: Example, picture: Image.Image) -> None:
        """See Kind."""
        inputs = reading.inputs(self.processor, example.title, (small(picture),) if self.shown else ())
        self.store.put(key, self.adapter.read(self.vlm, inputs)[0])


class Looks(Kind):
    """(U,) embeddings of covers, in the space of users of the checkpoint `root`."""

    def __init__(self, folder: Path, root: Path) -> None:
        space = hashlib.sha256((space_folder(root) / SPACE_WEIGHTS).read_bytes()).hexdigest()
        self.store, self._prefix = Shards(folder), digest("look", digest("space", space))
        self._joint = JointEmbedding.from_pretrained(root)

    def key(self, example: Example, picture: str) -> str:
        """See Kind."""
        return digest(self._prefix, picture)

    def add(self, key: str, example: Example, picture: Image.Image) -> None:
        """See Kind."""
        self.store.put(key, torch.from_numpy(self._joint.covers([picture])[0]))

    def rows(self, prepared: list[PreparedExample]) -> np.ndarray:
        """(N, U) of examples whose last kind this is."""
        return np.stack([self.store.get(p.keys[-1]).float().numpy() for p in prepared])


def prepare(examples: Iterable[Example], kinds: tuple[Kind, ...], report: RowReport) -> list[PreparedExample]:
    """Compute the missing tensors, one picture at a time; examples that cannot be used go to `report`.

    After an interruption it resumes after the last complete shard.
    """
    prepared: list[PreparedExample] = []
    for example in tqdm(examples, desc="precompute", unit="cover", mininterval=5.0):
        try:
            data = pictures.read(example.path)
            sha = hashlib.sha256(data).hexdigest()
            keys = tuple(kind.key(example, sha) for kind in kinds)
            missing = [(kind, key) for kind, key in zip(kinds, keys, strict=True) if key not in kind.store]
            picture = pictures.decode(data, shortest=2 * DECODED) if missing else None
            for kind, key in missing:
                kind.add(key, example, picture)  # type: ignore[arg-type]  # decoded if anything is missing
        except IcgError as error:
            report.accepted -= 1
            report.refuse("a damaged picture", "pictures", 0, example.cover, str(error))
            continue
        prepared.append(PreparedExample(example, keys))
    for kind in kinds:
        kind.finish()
    whole = [p for p in prepared if all(key in kind.store for kind, key in zip(kinds, p.keys, strict=True))]
    for broken in set(prepared) - set(whole):
        report.accepted -= 1
        report.refuse("numbers out of range", "pictures", 0, broken.example.cover, "not finite in half precision")
    return whole


def show(example: Example) -> tuple[Image.Image, ...]:
    """The cover as a picture for the VLM, or () if it is not readable any more."""
    try:
        return (small(pictures.decode(pictures.read(example.path), shortest=2 * DECODED)),)
    except IcgError:
        return ()


def small(picture: Image.Image) -> Image.Image:
    """The picture with at most READ_SIDE pixels at its longer edge."""
    copy = picture.copy()
    copy.thumbnail((READ_SIDE, READ_SIDE), Image.Resampling.LANCZOS)
    return copy


def stack(store: Shards, keys: list[str]) -> Tensor:
    """(B, ...) float32 of tensors of one shape."""
    return torch.stack([store.get(key) for key in keys]).float()


def fingerprint(part: str, folder: Path, stem: str) -> str:
    """Digest of a checkpoint's JSON files and of its weights' headers, sizes and samples; `part` and `stem` as in icg.checkpoints."""
    weights(part, folder, stem)
    state = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".jinja")):
        state.update(f"|{path.name}|".encode() + path.read_bytes())
    for path in sorted(folder.glob(f"{stem}*.safetensors")):
        size = path.stat().st_size
        state.update(f"|{path.name}|{size}|".encode())
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            state.update(file.read(length))
            for n in range(SAMPLES):
                file.seek(8 + length + (size - 8 - length) * n // SAMPLES)
                state.update(file.read(PIECE))
    return state.hexdigest()


def digest(*parts: str) -> str:
    """Digest of texts, each with its length, so that different lists never give the same input."""
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:40]
