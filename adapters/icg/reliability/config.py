"""The inputs, classes and shape of an RFNet as a config.json. Knows no tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from icg.checkpoints import read_json
from icg.errors import CheckpointError, IcgError

PRODUCT, PICTURE, DEPTH, SALIENCY, CAPTION = "product", "picture", "depth", "saliency", "caption"
IMAGES = (PRODUCT, PICTURE, DEPTH, SALIENCY)
CUES = (*IMAGES, CAPTION)
ENCODERS = {"image": ("resnet", "small"), "text": ("roberta", "small")}


@dataclass(frozen=True)
class RFNetConfig:
    """The defaults are the paper's (arXiv:2408.00418). Raises IcgError for values that are not allowed.

    `filters`: layers of the feature filter, N1. `fusions`: layers of self-attention, N2, 0 for none. `classes`: 5, or 6 with UNSUITABLE;
    `coarse` merges them into two. `side`: a picture's edge in pixels. `words`: most tokens of a caption. `image`, `text`: names
    in ENCODERS. `cues`: the inputs, at least one of them a picture. `dropout`: of the fusion, 0..0.9, our choice.
    `channels`: of a small picture encoder, a multiple of 8.
    """

    width: int = 384
    heads: int = 8
    filters: int = 1
    fusions: int = 3
    classes: int = 5
    side: int = 384
    words: int = 64
    image: str = "resnet"
    text: str = "roberta"
    cues: tuple[str, ...] = CUES
    coarse: bool = False
    dropout: float = 0.1
    channels: int = 64

    def __post_init__(self) -> None:
        for name in ("width", "heads", "filters", "fusions", "classes", "side", "words", "channels"):
            value = getattr(self, name)
            least = 0 if name == "fusions" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise IcgError(f"rfnet {name}={value!r}; allowed: a whole number from {least}")
        if self.width % self.heads:
            raise IcgError(f"rfnet heads={self.heads}; allowed: a divisor of {self.width}, its width")
        if self.channels % 8:
            raise IcgError(f"rfnet channels={self.channels}; allowed: a multiple of 8")
        if self.classes not in (5, 6):
            raise IcgError(f"rfnet classes={self.classes}; allowed: 5, 6")
        if not isinstance(self.coarse, bool):
            raise IcgError(f"rfnet coarse={self.coarse!r}; allowed: True, False")
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float) or not 0 <= self.dropout <= 0.9:
            raise IcgError(f"rfnet dropout={self.dropout!r}; allowed: 0..0.9")
        for name, allowed in ENCODERS.items():
            if getattr(self, name) not in allowed:
                raise IcgError(f"rfnet {name}={getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        if self.cues != tuple(cue for cue in CUES if cue in self.cues) or not self.pictures:
            raise IcgError(f"rfnet cues={self.cues!r}; allowed: some of {CUES} in this order, not the caption alone")

    @property
    def pictures(self) -> tuple[str, ...]:
        """The cues that are pictures."""
        return tuple(cue for cue in IMAGES if cue in self.cues)

    @property
    def filtered(self) -> bool:
        """Whether the feature filter is used: it needs a caption and a product."""
        return PRODUCT in self.cues and CAPTION in self.cues

    @property
    def outputs(self) -> int:
        """Logits of one picture."""
        return 2 if self.coarse else self.classes

    @classmethod
    def read(cls, folder: Path) -> RFNetConfig:
        """Read config.json of a saved network. Raises CheckpointError if it is missing, incomplete or has other fields."""
        stored = read_json("rfnet", folder / "config.json")
        known = {field.name for field in fields(cls)}
        if set(stored) != known:
            odd = sorted(set(stored) ^ known)
            raise CheckpointError(
                f"rfnet={str(folder)!r}: config.json with {odd} too many or too few; allowed: {sorted(known)}"
            )
        cues = stored["cues"]
        try:
            return cls(**stored | {"cues": tuple(cues) if isinstance(cues, list) else cues})  # type: ignore[arg-type]
        except (IcgError, TypeError) as error:
            raise CheckpointError(f"rfnet={str(folder)!r}: config.json makes no network ({error})") from error


VARIANTS = {
    "paper": RFNetConfig(),
    "small": RFNetConfig(width=64, heads=4, side=96, words=32, image="small", text="small", dropout=0.0),
}
"""The full size, and a size that two CPU cores train."""
