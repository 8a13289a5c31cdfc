"""What frozen models say of a catalogue, computed once: latents of covers, readings of items, cover embeddings.

Every number is kept under a key made of all that it depends on, so whatever is there already is skipped, and a changed picture,
title, size or model is computed again. Pictures are decoded one at a time and a few wait for their batch. Knows no training.
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
from icg.checkpoints import weights
from icg.data.buckets import Buckets, crop
from icg.data.catalogue import Example, Report
from icg.data.shards import Shards
from icg.errors import IcgError
from icg.models import vlm as reading
from icg.models.families import Family

READ_SIDE = 512
"""Pixels of the longer edge of what the VLM is shown, as the services store pictures of items."""
DECODED = 1024
"""Pictures are decoded to about this many pixels or a little more at their shorter edge: enough for the largest cover."""
SAMPLES, PIECE = 16, 65_536
"""Of every file of weights this many pieces of this many bytes are hashed beside its header: fine-tuning keeps headers."""


class Kind(Protocol):
    """One kind of number about an example."""

    store: Shards

    def key(self, example: Example, picture: str) -> str:
        """Names the number; `picture` is the sha256 of the picture file."""
        ...

    def add(self, key: str, example: Example, picture: Image.Image) -> None:
        """Compute it now or with others."""
        ...

    def finish(self) -> None:
        """Compute what waits and put all of it on the disk."""
        ...


@dataclass(frozen=True)
class Prepared:
    """An example and the keys of its numbers, one a kind, in the order of the kinds."""

    example: Example
    keys: tuple[str, ...]


class Latents:
    """(C, h, w) of the cover, cropped to the nearest bucket, by the family's encoder; `model` is its fingerprint."""

    def __init__(self, folder: Path, family: Family, buckets: Buckets, model: str, batch: int = 8) -> None:
        self.store, self.family, self.buckets, self.batch = Shards(folder), family, buckets, batch
        self._of = digest("latent", model, str(buckets))
        self._waiting: dict[tuple[int, int], list[tuple[str, np.ndarray]]] = {}

    def key(self, example: Example, picture: str) -> str:
        """See Kind."""
        return digest(self._of, picture)

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
            with suppress(IcgError):  # the others of the batch are good
                self.store.put(key, latent)


class Readings:
    """(M, D_vlm) standardised hidden states of the title with the cover or, unless `shown`, of the title alone.

    Good as long as the adapter's meta tokens, centre and spread are; `model` is the VLM's fingerprint.
    """

    def __init__(
        self, folder: Path, vlm: Any, processor: Any, adapter: IcgAdapter, model: str, shown: bool = True
    ) -> None:
        self.store, self.vlm, self.processor, self.adapter, self.shown = Shards(folder), vlm, processor, adapter, shown
        fixed = (adapter.meta_tokens.weight, adapter.centre, adapter.spread)
        tokens = hashlib.sha256(b"".join(t.detach().cpu().float().numpy().tobytes() for t in fixed)).hexdigest()
        self._of = digest("reading", model, tokens, str(READ_SIDE))

    def key(self, example: Example, picture: str) -> str:
        """See Kind."""
        return digest(self._of, example.title, picture if self.shown else "")

    @torch.inference_mode()
    def add(self, key: str, example: Example, picture: Image.Image) -> None:
        """See Kind."""
        given = reading.inputs(self.processor, example.title, (small(picture),) if self.shown else ())
        self.store.put(key, self.adapter.read(self.vlm, given)[0])

    def finish(self) -> None:
        """See Kind."""
        self.store.flush()


class Looks:
    """(U,) embeddings of covers, in the space of users; `joint` is an icg.models.joint.JointEmbedding, `model` its fingerprint."""

    def __init__(self, folder: Path, joint: Any, model: str) -> None:
        self.store, self.joint, self._of = Shards(folder), joint, digest("look", model)

    def key(self, example: Example, picture: str) -> str:
        """See Kind."""
        return digest(self._of, picture)

    def add(self, key: str, example: Example, picture: Image.Image) -> None:
        """See Kind."""
        self.store.put(key, torch.from_numpy(self.joint.covers([picture])[0]))

    def finish(self) -> None:
        """See Kind."""
        self.store.flush()


def prepare(examples: Iterable[Example], kinds: tuple[Kind, ...], report: Report) -> list[Prepared]:
    """Compute what is missing, one picture at a time; those that cannot be used go to `report`.

    Restarted after whatever end, it goes on after the last whole shard.
    """
    found: list[Prepared] = []
    for example in tqdm(examples, desc="precompute", unit="cover", mininterval=5.0):
        try:
            data = pictures.read(example.path)
            sha = hashlib.sha256(data).hexdigest()
            keys = tuple(kind.key(example, sha) for kind in kinds)
            missing = [(kind, key) for kind, key in zip(kinds, keys, strict=True) if key not in kind.store]
            picture = pictures.decode(data, shortest=2 * DECODED) if missing else None
            for kind, key in missing:
                kind.add(key, example, picture)  # type: ignore[arg-type]  # decoded where something is missing
        except IcgError as error:
            report.accepted -= 1
            report.refuse("a damaged picture", "pictures", 0, example.cover, str(error))
            continue
        found.append(Prepared(example, keys))
    for kind in kinds:
        kind.finish()
    whole = [one for one in found if all(key in kind.store for kind, key in zip(kinds, one.keys, strict=True))]
    for one in set(found) - set(whole):
        report.accepted -= 1
        report.refuse("numbers out of range", "pictures", 0, one.example.cover, "not finite in half precision")
    return whole


def show(example: Example) -> tuple[Image.Image, ...]:
    """The cover as the VLM is shown it, or nothing where it can no longer be read."""
    try:
        return (small(pictures.decode(pictures.read(example.path), shortest=2 * DECODED)),)
    except IcgError:
        return ()


def small(picture: Image.Image) -> Image.Image:
    """At most READ_SIDE pixels at its longer edge."""
    copy = picture.copy()
    copy.thumbnail((READ_SIDE, READ_SIDE), Image.Resampling.LANCZOS)
    return copy


def stack(store: Shards, keys: list[str]) -> Tensor:
    """(B, ...) float32 of tensors of one shape."""
    return torch.stack([store.get(key) for key in keys]).float()


def fingerprint(part: str, folder: Path, stem: str) -> str:
    """Of a checkpoint's JSON files and, for its weights, headers, sizes and samples; `part` and `stem` as in icg.checkpoints."""
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
    """Of texts, each with its length, so that no two lists are alike."""
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:40]
