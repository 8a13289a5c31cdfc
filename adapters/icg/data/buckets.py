"""Aspect-ratio buckets: a few sizes of about equal area; pictures are cropped to the nearest, a batch has one size.

NovelAI's bucketing as in SDXL (arXiv:2307.01952, section 2.3). Knows no model and no file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageOps

from icg.errors import IcgError

GRID = 16
"""Edges of briefs are multiples of this, within EDGES."""
EDGES = (32, 2048)


@dataclass(frozen=True)
class Buckets:
    """Sizes (width, height) of about `pixels` pixels whose edges are multiples of GRID and of the family's `multiple`.

    Areas are within `spread` of `pixels` and ratios within 1/`ratio`..`ratio`; a square is always included.
    """

    pixels: int
    multiple: int = GRID
    ratio: float = 2.5
    spread: float = 0.2

    def __post_init__(self) -> None:
        if not EDGES[0] ** 2 <= self.pixels <= EDGES[1] ** 2:
            raise IcgError(f"pixels={self.pixels}; allowed: {EDGES[0] ** 2}..{EDGES[1] ** 2} a cover")
        if self.multiple < 1 or self.unit > EDGES[1]:
            raise IcgError(f"multiple={self.multiple}; allowed: 1..{EDGES[1]}")
        if not (1 <= self.ratio <= 20 and 0 <= self.spread < 1):
            raise IcgError(f"ratio={self.ratio}, spread={self.spread}; allowed: 1..20 and 0..1")

    @property
    def unit(self) -> int:
        """Every edge is a multiple of this."""
        return math.lcm(GRID, self.multiple)

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """All sizes, ordered from tall to wide."""
        least, most = -(-EDGES[0] // self.unit), EDGES[1] // self.unit
        side = self.unit * min(max(round(math.sqrt(self.pixels) / self.unit), least), most)
        sizes = {(side, side)}
        for n in range(least, most + 1):
            width = n * self.unit
            height = self.unit * min(max(round(self.pixels / width / self.unit), least), most)
            near = abs(width * height / self.pixels - 1) <= self.spread
            if near and max(width, height) <= self.ratio * min(width, height):
                sizes |= {(width, height), (height, width)}
        return tuple(sorted(sizes, key=lambda size: (size[0] / size[1], size)))

    def nearest(self, width: int, height: int) -> tuple[int, int]:
        """The size whose ratio is nearest to that of width x height, by the logarithm of ratios."""
        target = math.log(width / height)
        return min(self.sizes, key=lambda size: abs(math.log(size[0] / size[1]) - target))


def crop(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale to cover `size` = (width, height), and crop equally on both sides."""
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


class Epochs:
    """Batches of examples of one bucket; every example once an epoch, the last batch of a bucket may be smaller.

    A batch depends on (seed, its number) only, so that training can resume anywhere. Raises IcgError without examples.
    """

    def __init__(self, bucket: np.ndarray, batch: int, seed: int) -> None:
        """bucket (N,): the number of each example's bucket."""
        if len(bucket) == 0 or batch < 1:
            raise IcgError(f"examples={len(bucket)}, batch={batch}; allowed: at least one each")
        self.bucket, self.batch, self.seed = np.asarray(bucket), batch, seed
        self.length = int(sum(-(-n // batch) for n in np.unique(self.bucket, return_counts=True)[1]))
        """Batches of an epoch."""
        self._epoch, self._order = -1, list[np.ndarray]()

    def rows(self, number: int) -> np.ndarray:
        """(B,) examples of batch `number`, which counts through all epochs; B is at most the batch size."""
        epoch, place = divmod(number, self.length)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return self._order[place]

    def _shuffled(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.bucket))
        order = order[np.argsort(self.bucket[order], kind="stable")]
        starts = np.flatnonzero(np.diff(self.bucket[order], prepend=self.bucket[order[0]] - 1))
        groups = np.split(order, starts[1:])
        batches = [group[i : i + self.batch] for group in groups for i in range(0, len(group), self.batch)]
        return [batches[i] for i in rng.permutation(len(batches))]
