"""RF1M, a million generated advertising pictures with inspectors' labels, streamed from its archives.

Towards Reliable Advertising Image Generation Using Human Feedback (arXiv 2408.00418), its data set. It consists of some thirty
archives of pictures, a label.txt and, for a part of them (subset 1), archives of product cut-outs as PNG with alpha, whose file names
are those of the pictures. Its description does not say how rows of label.txt look, how file names identify products, which archives
belong to which subset, or where captions are: `Layout` and `Part` configure all of that, with guesses as defaults. Knows no network.
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
from icg.data.catalogue import RowReport, Splits
from icg.data.precompute import digest
from icg.data.shards import SHARD, Shards
from icg.errors import IcgError
from icg.reliability.archives import Archive, Member, Refusal, open_source, pictures_of, read
from icg.reliability.labels import Availability, Labels, Layout, available

SIDE = 384
"""Edge in pixels of RFNet's pictures; they are decoded to at most about twice that."""
Cue = Callable[[Any, Image.Image], Any]
"""(model, RGB picture) -> (H, W) in 0..1: depth or saliency."""


@dataclass(frozen=True)
class Part:
    """Archives or folders of a subset's `pictures` and, if it has them, of its `products`' cut-outs.

    Cut-outs are found by name, with about a kilobyte in memory for each while their part is read, so one archive a part needs the least
    memory. A .tar.gz of cut-outs should have the order of its pictures. cut_outs: a regular expression that matches the paths of
    cut-outs only, for archives that hold both.
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

    name: its key in label.txt. picture: RGB. product: RGBA cut-out or None. caption: "" without one.
    product_id: splits are by it. digest: sha256 of the picture's file.
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
class RF1MReport:
    """Counts of a pass. refused: by kind of reason, rows of label.txt among them. shown: the first refusals in full."""

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
    """The data of `parts` with the rows of `labels`. Splits are of products, by the hash of their ids, as in a catalogue.

    classes: 5 as in the paper, or 6 with pictures of a bad product photograph, which are otherwise left out and counted. Raises IcgError
    for an unusable label.txt and for missing `parts`.
    """

    def __init__(
        self,
        labels: Path,
        parts: Iterable[Part],
        layout: Layout | None = None,
        splits: Splits | None = None,
        classes: int = 5,
        side: int = SIDE,
    ) -> None:
        if classes not in (5, 6):
            raise IcgError(f"classes={classes}; allowed: 5, 6")
        self.layout, self.splits, self.classes, self.side = layout or Layout(), splits or Splits(), classes, side
        self.parts = tuple(parts)
        for path in (path for part in self.parts for path in (*part.pictures, *part.products)):
            open_source(path, lambda *_: None).close()
        self.rows = RowReport()
        self.labels = Labels(labels, self.layout, self.rows)

    def read(self, split: str | None = None) -> Pass:
        """Examples of a split ("train", "validation" or "test"), or all; each iteration reads them again."""
        return Pass(self, split)

    def product_of(self, key: str) -> str | None:
        """The product's id in a picture's key, None if the layout's expression does not match."""
        match = re.fullmatch(self.layout.product, key)
        return match[1] if match else None


class Pass:
    """Iterates over examples and counts. Nothing in an archive raises: what cannot be used is counted in `report`."""

    def __init__(self, data: RF1M, split: str | None) -> None:
        self._data, self._split = data, split
        self._tally, self._counts, self._products = RowReport(), Counter[tuple[str, str]](), set[int]()

    def __iter__(self) -> Iterator[Example]:
        self._tally = RowReport(refused=self._data.rows.refused.copy(), shown=self._data.rows.shown.copy())
        self._counts.clear()
        self._products.clear()
        met = bytearray(len(self._data.labels))
        for part in self._data.parts:
            for example in self._part(part, met):
                self._count(example)
                yield example
        self._data.labels.unmet(met, self._tally)

    def report(self) -> RF1MReport:
        """The counts of the last iteration so far; rows without a picture are known at its end."""
        groups = {
            group: {name: n for (kind, name), n in sorted(self._counts.items()) if kind == group}
            for group in ("class", "subset", "split")
        }
        return RF1MReport(
            pictures=self._counts["", "pictures"],
            products=len(self._products),
            cut_outs=self._counts["", "cut-outs"],
            classes=groups["class"],
            subsets=groups["subset"],
            splits=groups["split"],
            refused=dict(self._tally.refused),
            shown=tuple(self._tally.shown),
        )

    def _count(self, example: Example) -> None:
        self._counts["", "pictures"] += 1
        self._counts["", "cut-outs"] += example.product is not None
        self._counts["class", example.label.name.lower()] += 1
        self._counts["subset", str(example.subset)] += 1
        self._counts["split", example.split] += 1
        self._products.add(hash(example.product_id))

    def _part(self, part: Part, met: bytearray) -> Iterator[Example]:
        sources = [open_source(path, self._refuse) for path in part.products]
        try:
            cut_outs: dict[str, tuple[Archive, Member]] = {}
            for source, path in zip(sources, part.products, strict=True):
                for member in pictures_of(source, path, self._refuse):
                    if re.search(part.cut_outs, member.name):
                        cut_outs[self._data.layout.key(member.name)] = source, member
            for path in part.pictures:
                with closing(open_source(path, self._refuse)) as source:
                    for member in pictures_of(source, path, self._refuse):
                        if part.cut_outs and re.search(part.cut_outs, member.name):
                            continue
                        try:
                            example = self._example(part, source, member, met, cut_outs)
                        except IcgError as error:
                            kind = error.kind if isinstance(error, Refusal) else "a damaged picture"
                            self._refuse(kind, member.name, str(error))
                            continue
                        if example is not None:
                            yield example
        finally:
            for source in sources:
                source.close()

    def _example(
        self, part: Part, source: Archive, member: Member, met: bytearray, cut_outs: dict[str, tuple[Archive, Member]]
    ) -> Example | None:
        """None for another split. Raises IcgError for a picture that cannot be used."""
        data, key = self._data, self._data.layout.key(member.name)
        row = data.labels.find(key)
        if row is None:
            raise Refusal("a picture without a label", "allowed: a row of its own in label.txt")
        if met[row]:
            raise Refusal("a doubled picture", "met before")
        met[row] = 1
        label, caption, product = data.labels.of(row)
        if label is None:
            raise Refusal("a picture with contradicting labels", "allowed: one class")
        if label >= data.classes:
            raise Refusal("a class left out", f"{label.name}; allowed: the paper's five, or classes=6")
        id = product or data.product_of(key)
        if not id:
            raise Refusal("no product in its name", f"allowed: {data.layout.product}")
        split = data.splits.of("product", id)
        if self._split not in (None, split):
            return None
        file = read(source, member)
        picture, sha = pictures.decode(file, shortest=2 * data.side), hashlib.sha256(file).hexdigest()
        return Example(key, picture, self._product(cut_outs.get(key)), caption, label, part.subset, id, split, sha)

    def _product(self, place: tuple[Archive, Member] | None) -> Image.Image | None:
        if place is None:
            return None
        try:
            return cut_out(read(*place), self._data.side)
        except IcgError as error:
            kind = error.kind if isinstance(error, Refusal) else "a damaged product"
            self._refuse(kind, place[1].name, str(error))
            return None

    def _refuse(self, kind: str, name: str, reason: str) -> None:
        self._tally.refuse(kind, "archives", 0, name, reason)


def cut_out(data: bytes, side: int) -> Image.Image:
    """RGBA of a product's file, its shorter edge at most 2 `side`. Raises IcgError; Refusal for alpha of one value."""
    image = pictures.decode(data, mode="RGBA", shortest=2 * side)
    if (alpha := image.getchannel("A").getextrema()) in ((255, 255), (0, 0)):
        raise Refusal("a product without alpha", f"alpha is {alpha[0]} everywhere; allowed: a cut-out")
    return image


class CueCache:
    """Depth or saliency maps on disk, each computed once; one cue and one model a cache.

    `cue`(`model`, picture) -> (H, W) in 0..1, stored in half precision; any dense depth or saliency model works, such as DPT or
    U2-Net. Keys are digests of `name`, which must identify the model, of the picture's file and of its decoded size. A kill loses only
    the maps that are not in a whole shard. Only one process may write.
    """

    def __init__(self, folder: Path, name: str, model: Any, cue: Cue, shard: int = SHARD) -> None:
        self.name, self.model, self.cue = name, model, cue
        self.store = Shards(folder / digest("cue", name), shard)

    def of(self, example: Example) -> Tensor:
        """(H, W) float16 in 0..1. Raises IcgError if the model returns anything else."""
        key = digest("cue", self.name, example.digest, str(example.picture.size))
        if key not in self.store:
            values = np.asarray(self.cue(self.model, example.picture))
            if values.ndim != 2 or values.size == 0 or not ((values >= 0) & (values <= 1)).all():
                raise IcgError(f"cue {self.name!r} of {example.name!r}: {_range(values)}; allowed: (H, W) in 0..1")
            self.store.put(key, torch.from_numpy(values.astype(np.float16)))
        return self.store.get(key)

    def compute(self, examples: Iterable[Example], tally: RowReport) -> int:
        """Store the maps of all `examples` and return their number; those that failed are refused to `tally`."""
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


def _range(values: np.ndarray) -> str:
    return f"{values.shape} in {values.min()}..{values.max()}" if values.size else f"{values.shape}"
