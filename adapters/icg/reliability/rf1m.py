"""RF1M, a million generated advertising pictures with what inspectors said of them, streamed from its archives.

Towards Reliable Advertising Image Generation Using Human Feedback (arXiv 2408.00418), its data set. It comes as some thirty
archives of pictures, a label.txt and, for a part of them (subset 1), archives of product cut-outs as PNG with alpha whose file names
are those of the pictures. Its description does not say how rows of label.txt look, how file names tell products apart, which
archives make which subset, or where captions are: `Layout` and `Part` take all of that, with guesses as defaults. Knows no network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg import pictures
from icg.data.catalogue import Report as Tally
from icg.data.catalogue import Splits
from icg.data.precompute import digest
from icg.data.shards import SHARD, Shards
from icg.errors import IcgError
from icg.reliability.archives import Member, Refused, Source, opened, pictures_of, read
from icg.reliability.labels import Availability, Labels, Layout, available

SIDE = 384
"""Pixels of an edge as RFNet sees pictures; they are decoded to at most about twice that."""
Cue = Callable[[Any, Image.Image], Any]
"""(a model, an RGB picture) -> (H, W) in 0..1: depth or saliency."""


@dataclass(frozen=True)
class Part:
    """Archives or folders of a subset's `pictures` and, where it has them, of its `products`' cut-outs.

    Cut-outs of a part are found by name: about a kilobyte each while the part is read, so one part an archive needs least. A .tar.gz
    of cut-outs should be in the order of its pictures. cut_outs: a regular expression found in the paths of cut-outs and no others,
    for archives that hold both.
    """

    subset: int
    pictures: tuple[Path, ...]
    products: tuple[Path, ...] = ()
    cut_outs: str = ""

    def __post_init__(self) -> None:
        try:
            re.compile(self.cut_outs)
        except re.error as error:
            raise IcgError(f"cut_outs={self.cut_outs!r}; allowed: a regular expression ({error})") from error


@dataclass(frozen=True)
class Example:
    """One generated picture.

    name: its key in label.txt. picture: RGB. product: RGBA cut-out, None where there is none. caption: "" where there is none.
    product_id: what splits are made of. digest: sha256 of the picture's file.
    """

    name: str
    picture: Image.Image
    product: Image.Image | None
    caption: str
    label: Availability
    subset: int
    product_id: str
    split: str
    digest: str

    @property
    def available(self) -> bool:
        """The coarse label."""
        return available(self.label)


@dataclass(frozen=True)
class Report:
    """What a pass gave. refused: how many for which kind of reason, rows of label.txt among them; shown: the first in full."""

    pictures: int
    products: int
    cut_outs: int
    classes: dict[str, int]
    subsets: dict[str, int]
    splits: dict[str, int]
    refused: dict[str, int]
    shown: tuple[dict[str, object], ...]

    def json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))


class RF1M:
    """The data in `parts` by the rows of `labels`. Splits are of products, by the hash of their ids, as in a catalogue.

    classes: 5 as in the paper, or 6: with pictures that a bad source photo spoilt, which 5 leave out and count. Raises IcgError for a
    label.txt that cannot be used, and for `parts` that are not there.
    """

    def __init__(
        self, labels: Path, parts: Iterable[Part], layout: Layout | None = None, splits: Splits | None = None,
        classes: int = 5, side: int = SIDE,
    ) -> None:  # fmt: skip
        if classes not in (5, 6):
            raise IcgError(f"classes={classes}; allowed: 5, 6")
        self.layout, self.splits, self.classes, self.side = layout or Layout(), splits or Splits(), classes, side
        self.parts = tuple(parts)
        for path in (path for part in self.parts for path in (*part.pictures, *part.products)):
            opened(path, lambda *_: None).close()
        self.rows = Tally()
        self.labels = Labels(labels, self.layout, self.rows)

    def read(self, split: str | None = None) -> Pass:
        """Examples of a split ("train", "validation" or "test"), or all of them, anew each time it is iterated over."""
        return Pass(self, split)

    def product_of(self, key: str) -> str | None:
        """The product's id in a picture's key, None where the layout's expression does not fit."""
        found = re.fullmatch(self.layout.product, key)
        return found[1] if found else None


class Pass:
    """Iterates over examples and counts. Nothing in an archive raises: what cannot be used is in `report`."""

    def __init__(self, data: RF1M, split: str | None) -> None:
        self._data, self._split = data, split
        self._tally, self._counts, self._products = Tally(), Counter[tuple[str, str]](), set[int]()

    def __iter__(self) -> Iterator[Example]:
        self._tally = Tally(refused=self._data.rows.refused.copy(), shown=self._data.rows.shown.copy())
        self._counts.clear()
        self._products.clear()
        met = bytearray(len(self._data.labels))
        for part in self._data.parts:
            for example in self._part(part, met):
                self._count(example)
                yield example
        self._data.labels.unmet(met, self._tally)

    def report(self) -> Report:
        """Of the last iteration so far; rows without a picture are known at its end."""
        of = {group: {name: n for (kind, name), n in sorted(self._counts.items()) if kind == group}
              for group in ("class", "subset", "split")}  # fmt: skip
        whole, cut_outs = self._counts["", "pictures"], self._counts["", "cut-outs"]
        refused, shown = dict(self._tally.refused), tuple(self._tally.shown)
        return Report(whole, len(self._products), cut_outs, of["class"], of["subset"], of["split"], refused, shown)

    def _count(self, example: Example) -> None:
        self._counts["", "pictures"] += 1
        self._counts["", "cut-outs"] += example.product is not None
        self._counts["class", example.label.name.lower()] += 1
        self._counts["subset", str(example.subset)] += 1
        self._counts["split", example.split] += 1
        self._products.add(hash(example.product_id))

    def _part(self, part: Part, met: bytearray) -> Iterator[Example]:
        sources = [opened(path, self._refuse) for path in part.products]
        try:
            found: dict[str, tuple[Source, Member]] = {}
            for source, path in zip(sources, part.products, strict=True):
                for member in pictures_of(source, path, self._refuse):
                    if re.search(part.cut_outs, member.name):
                        found[self._data.layout.key(member.name)] = source, member
            for path in part.pictures:
                with closing(opened(path, self._refuse)) as source:
                    for member in pictures_of(source, path, self._refuse):
                        if part.cut_outs and re.search(part.cut_outs, member.name):
                            continue
                        try:
                            example = self._example(part, source, member, met, found)
                        except IcgError as error:
                            kind = error.kind if isinstance(error, Refused) else "a damaged picture"
                            self._refuse(kind, member.name, str(error))
                            continue
                        if example is not None:
                            yield example
        finally:
            for source in sources:
                source.close()

    def _example(
        self, part: Part, source: Source, member: Member, met: bytearray, found: dict[str, tuple[Source, Member]]
    ) -> Example | None:
        """None for another split. Raises IcgError for what cannot be used."""
        data, key = self._data, self._data.layout.key(member.name)
        row = data.labels.find(key)
        if row is None:
            raise Refused("a picture without a label", "allowed: a row of its own in label.txt")
        if met[row]:
            raise Refused("a doubled picture", "met before")
        met[row] = 1
        label, caption, product = data.labels.of(row)
        if label is None:
            raise Refused("a picture with contradicting labels", "allowed: one class")
        if label >= data.classes:
            raise Refused("a class left out", f"{label.name}; allowed: the paper's five, or classes=6")
        id = product or data.product_of(key)
        if not id:
            raise Refused("no product in its name", f"allowed: {data.layout.product}")
        split = data.splits.of("product", id)
        if self._split not in (None, split):
            return None
        file = read(source, member)
        picture, sha = pictures.decode(file, shortest=2 * data.side), hashlib.sha256(file).hexdigest()
        return Example(key, picture, self._product(found.get(key)), caption, label, part.subset, id, split, sha)

    def _product(self, place: tuple[Source, Member] | None) -> Image.Image | None:
        if place is None:
            return None
        try:
            return cut_out(read(*place), self._data.side)
        except IcgError as error:
            kind = error.kind if isinstance(error, Refused) else "a damaged product"
            self._refuse(kind, place[1].name, str(error))
            return None

    def _refuse(self, kind: str, name: str, reason: str) -> None:
        self._tally.refuse(kind, "archives", 0, name, reason)


def cut_out(data: bytes, side: int) -> Image.Image:
    """RGBA of a product's file, its shorter edge of at most 2 `side`. Raises IcgError; Refused for alpha of one value."""
    image = pictures.decode(data, mode="RGBA", shortest=2 * side)
    if (alpha := image.getchannel("A").getextrema()) in ((255, 255), (0, 0)):
        raise Refused("a product without alpha", f"alpha is {alpha[0]} everywhere; allowed: a cut-out")
    return image


class CueCache:
    """Depth or saliency maps on disk, one kind and one model a cache, each computed once.

    `cue`(`model`, picture) -> (H, W) in 0..1, kept in half precision; any dense depth or saliency model does, such as DPT or
    U2-Net. Keys are made of `name`, which must tell models apart, the picture's file and its decoded size. What whole shards
    hold outlives a kill. One process writes.
    """

    def __init__(self, folder: Path, name: str, model: Any, cue: Cue, shard: int = SHARD) -> None:
        self.name, self.model, self.cue = name, model, cue
        self.store = Shards(folder / digest("cue", name), shard)

    def of(self, example: Example) -> Tensor:
        """(H, W) float16 in 0..1. Raises IcgError where the model gives anything else."""
        key = digest("cue", self.name, example.digest, str(example.picture.size))
        if key not in self.store:
            seen = np.asarray(self.cue(self.model, example.picture))
            if seen.ndim != 2 or seen.size == 0 or not ((seen >= 0) & (seen <= 1)).all():
                raise IcgError(f"cue {self.name!r} of {example.name!r}: {_range(seen)}; allowed: (H, W) in 0..1")
            self.store.put(key, torch.from_numpy(seen.astype(np.float16)))
        return self.store.get(key)

    def compute(self, examples: Iterable[Example], tally: Tally) -> int:
        """How many of `examples` have their map on disk now; the others are in `tally`."""
        done = 0
        for example in examples:
            try:
                self.of(example)
            except IcgError as error:
                tally.refuse("a cue out of range", "cues", 0, example.name, str(error))
                continue
            done += 1
        self.store.flush()
        return done


def _range(seen: np.ndarray) -> str:
    return f"{seen.shape} in {seen.min()}..{seen.max()}" if seen.size else f"{seen.shape}"
