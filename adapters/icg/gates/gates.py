"""The gates of a made cover: is its item in the checkpoint's domain, is its picture whole and legible, is nothing spoiled.

Each is a number in 0..1 that must reach a threshold. The thresholds were chosen on emoji art and free photographs, not on the posters that
evaluate them (docs/artwork.md). Knows no service; the caller decides what a failure means.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from PIL import Image

from icg.brief import Brief
from icg.gates.artifacts import artifacts
from icg.gates.domain import domain
from icg.gates.fidelity import fidelity
from icg.pictures import over_white

DOMAIN, FIDELITY, ARTIFACTS = 0.5, 0.8, 0.3
"""Least values that pass."""
CACHED = 32
"""Pictures whose own measures are cached: the covers of a job, and of many users, share few items."""


@dataclass(frozen=True)
class Gates:
    """domain: how far inside the checkpoint's domain the item's picture is, or a cover drawn from the title alone. fidelity: how whole
    and legible the item's own picture is. artifacts: how clean the cover
    is, apart from what its item's picture looks like. Each in 0..1, 1 is best."""

    domain: float
    fidelity: float
    artifacts: float

    def failures(self) -> tuple[str, ...]:
        """The gates that it does not pass, with value and threshold; empty if it passes all."""
        least = {"domain": DOMAIN, "fidelity": FIDELITY, "artifacts": ARTIFACTS}
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return tuple(
            f"{name}={value:.2f}; allowed: at least {least[name]}"
            for name, value in values.items()
            if not value >= least[name]  # NaN fails
        )


def gates(cover: Image.Image, brief: Brief, checkpoint: str | Path) -> Gates:
    """The gates of a `cover` that the checkpoint in this folder made of `brief`.

    An item without a picture has nothing to be faithful to; a checkpoint that states no domain has none. What looks spoiled in the item's
    own picture is not the cover's fault.
    """
    picture = brief.references[0] if brief.references else brief.product
    if picture is None:
        inside, own, whole = float(domain(checkpoint, [cover])[0]), 0.0, 1.0
    else:
        rgb = over_white(picture)
        inside, own = _of_picture(str(checkpoint), rgb.size, rgb.tobytes())
        whole = fidelity(cover, picture, brief.product, brief.inpaint)
    return Gates(round(inside, 4), whole, round(1 - max(0.0, artifacts(_as_drawn(cover, brief)) - own), 4))


def _as_drawn(cover: Image.Image, brief: Brief) -> Image.Image:
    """A cover whose ground was enlarged around a cut-out, at the size of what the model drew: softness of enlarging is no damage."""
    if brief.product is None or max(cover.size) <= max(brief.size):
        return cover
    small = cover.copy()
    small.thumbnail(brief.size, Image.Resampling.LANCZOS)
    return small


@lru_cache(CACHED)
def _of_picture(checkpoint: str, size: tuple[int, int], data: bytes) -> tuple[float, float]:
    """The domain and the artifacts of an item's own RGB picture."""
    picture = Image.frombytes("RGB", size, data)
    return float(domain(checkpoint, [picture])[0]), artifacts(picture)
