"""How a checkpoint is drawn if a caller does not say: `eyecatch.json` in its folder. Knows no model.

    {"size": [1024, 1024], "sizes": [[832, 1216]], "steps": 30, "guidance": 5.0, "negative": "blurry", "dtype": "bfloat16",
     "ground_steps": 20, "sharpen": 0.0}

Every key may be absent; without the file a checkpoint is drawn as the starter is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from icg.brief import Brief
from icg.checkpoints import read_json
from icg.errors import BriefError, CheckpointError

FILE = "eyecatch.json"
DTYPES = ("", "float32", "float16", "bfloat16")
Size = tuple[int, int]


@dataclass(frozen=True)
class DrawingSettings:
    """size: (width, height) of covers; sizes: others that a caller may ask for, for each of which memory is measured. steps, guidance,
    negative: as of a Brief. dtype: of denoiser and autoencoder, one of DTYPES; "": float32, or bfloat16 on a CPU that is faster with it.
    ground_steps: steps of a cover around the item's own picture, 0: `steps`. sharpen: how much the edges of drawn grounds are sharpened,
    0..2 (`icg.compose.detail.sharpened`).
    Raises CheckpointError naming the key."""

    size: Size = Brief.size
    sizes: tuple[Size, ...] = ()
    steps: int = Brief.steps
    guidance: float = Brief.guidance
    negative: str = ""
    dtype: str = ""
    ground_steps: int = 0
    sharpen: float = 0.0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise CheckpointError(f"{FILE} dtype={self.dtype!r}; allowed: {', '.join(DTYPES[1:])}, or nothing")
        if isinstance(self.sharpen, bool) or not isinstance(self.sharpen, int | float) or not 0 <= self.sharpen <= 2:
            raise CheckpointError(f"{FILE} sharpen={self.sharpen!r}; allowed: a number in 0..2")
        for size in self.all_sizes:
            try:
                Brief("any", size=size, steps=self.steps, guidance=self.guidance, negative=self.negative)
            except (BriefError, TypeError) as error:
                raise CheckpointError(f"{FILE} {error}") from error
        if type(self.ground_steps) is not int or not 0 <= self.ground_steps <= 100:
            raise CheckpointError(f"{FILE} ground_steps={self.ground_steps!r}; allowed: 0..100")

    @property
    def all_sizes(self) -> tuple[Size, ...]:
        """What may be asked for, the default first."""
        return tuple(dict.fromkeys((self.size, *self.sizes)))

    def knobs(self, around: bool = False) -> dict[str, Any]:
        """Fields of a Brief that a caller did not set. around: of a cover around the item's own picture."""
        steps = self.ground_steps if around and self.ground_steps else self.steps
        return {"size": self.size, "steps": steps, "guidance": self.guidance, "negative": self.negative}

    def changed(self, values: Mapping[str, Any]) -> DrawingSettings:
        """These settings but for `values` by name."""
        return replace(self, **values)

    @classmethod
    def read(cls, root: Path) -> DrawingSettings:
        """Those of a checkpoint folder. Raises CheckpointError for a broken file, an unknown key or a value that is not allowed."""
        if not (root / FILE).is_file():
            return cls()
        values = read_json(FILE, root / FILE)
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise CheckpointError(
                f"{FILE} {unknown[0]}={values[unknown[0]]!r}; allowed keys: {', '.join(sorted(known))}"
            )
        sizes: Any = values.get("sizes", [])
        if not isinstance(sizes, list):
            raise CheckpointError(f"{FILE} sizes={sizes!r}; allowed: a list of [width, height]")
        size: Any = values.get("size", cls.size)
        return cls(**values | {"size": _size(size), "sizes": tuple(map(_size, sizes))})  # type: ignore[arg-type]


def _size(value: Any) -> Size:
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(type(edge) is int for edge in value):
        raise CheckpointError(f"{FILE} size={value!r}; allowed: [width, height], multiples of 16 in 32..2048")
    return value[0], value[1]
