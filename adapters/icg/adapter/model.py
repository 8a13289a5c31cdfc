"""The adapter: meta tokens, refiner and connector as one checkpoint between a frozen VLM and a diffusion model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icg.adapter.connector import Connector
from icg.adapter.decision import Decision
from icg.adapter.meta_tokens import MetaTokens
from icg.adapter.placement import Placement
from icg.adapter.refiner import Refiner
from icg.adapter.studios import Studios
from icg.checkpoints import load_module, read_json, save_module
from icg.errors import BriefError, CheckpointError
from icg.models.compatible import family_of
from icg.models.families import ConditioningSpec

MAX_GROUND = 2048
MAYBE = ("pooled", "grounds", "drafts", "layouts", "studios", "palettes", "backdrops")
"""Numbers that may be 0."""


@dataclass(frozen=True)
class AdapterConfig:
    """Widths: `vlm` of the VLM's hidden states, `user` of user embeddings, `caption` and `pooled` of the denoiser.

    `reads` and `draws`: the families that it was trained for (a VLM's model_type, a denoiser's class), "" for any. Widths do not
    identify a family: Qwen2.5-VL-3B and Qwen3-VL-2B are both 2048 wide. audience: whether covers follow a segment's words behind the
    title; an adapter that was trained on bare titles loses the title by them. grounds: edge in pixels of the grounds, pictures without
    a subject, that the denoiser was trained to draw for a user without an item; 0 if it was not. drafts: edge of the drafts that it was
    trained to refine to grounds; 0: grounds are drawn at their size from the beginning. layouts: how many layouts of each draft it was
    trained to draw (`icg.draw.drafts`), of which a brief's seed chooses one; 0: chance does. studios: how many bare places with room for
    a product it was trained to draw (`icg.adapter.studios`). palettes, backdrops: of how many one is decided on for a user; 0: the user
    is read as they are. places: whether the connector has a vector for each token. Raises CheckpointError for values out of range.
    """

    vlm: int
    caption: int
    pooled: int = 0
    user: int = 64
    tokens: int = 16
    layers: int = 2
    heads: int = 4
    slots: int = 4
    reads: str = ""
    draws: str = ""
    audience: bool = True
    grounds: int = 0
    drafts: int = 0
    layouts: int = 0
    studios: int = 0
    palettes: int = 0
    backdrops: int = 0
    places: bool = False

    def __post_init__(self) -> None:
        for name in ("vlm", "caption", "user", "tokens", "layers", "heads", "slots", *MAYBE):
            value, least = getattr(self, name), int(name not in MAYBE)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise CheckpointError(f"adapter {name}={value!r}; allowed: a whole number from {least}")
        if self.grounds % 16 or self.grounds > MAX_GROUND:
            raise CheckpointError(f"adapter grounds={self.grounds}; allowed: 0 or a multiple of 16 up to {MAX_GROUND}")
        if self.drafts and (self.drafts % 16 or self.grounds % self.drafts):
            raise CheckpointError(
                f"adapter drafts={self.drafts}; allowed: 0, or a multiple of 16 that divides grounds={self.grounds}"
            )
        if self.vlm % self.heads:
            raise CheckpointError(f"adapter heads={self.heads}; allowed: a divisor of {self.vlm}, the VLM's width")

    @property
    def draft_factor(self) -> int:
        """The edge of a ground over that of its draft."""
        return self.grounds // self.drafts if self.drafts else 1

    @classmethod
    def between(cls, vlm: Any, diffusion: Any, **fields: int) -> AdapterConfig:
        """The config for a loaded VLM and a loaded stock diffusers pipeline: their widths and families, and the other `fields`."""
        family = family_of(diffusion)
        spec, width = family.spec, vlm.get_input_embeddings().weight.shape[1]
        names = {"reads": vlm.config.model_type, "draws": type(family.denoiser).__name__}
        return cls(width, spec.width, spec.pooled, **names, **fields)

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig:
        """Read config.json of a saved adapter. Raises CheckpointError if it is missing or has other fields."""
        config = read_json("adapter", folder / "config.json")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(config) - known):
            raise CheckpointError(
                f"adapter={str(folder)!r}: config.json says {unknown}; allowed: {', '.join(sorted(known))}"
            )
        if missing := sorted({"vlm", "caption"} - set(config)):
            raise CheckpointError(
                f"adapter={str(folder)!r}: config.json lacks {missing}; allowed: a folder of save_pretrained"
            )
        return cls(**config)  # type: ignore[arg-type]  # checked above


class IcgAdapter(nn.Module):
    """The trained part between the two frozen models."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.meta_tokens = MetaTokens(config.tokens, config.vlm)
        self.refiner = Refiner(config.vlm, config.user, config.slots, config.heads)
        self.connector = Connector(
            config.vlm,
            ConditioningSpec(config.caption, config.pooled),
            config.layers,
            config.heads,
            config.tokens if config.places else 0,
        )
        self.nothing = nn.Parameter(torch.randn(config.tokens, config.vlm) * 0.02)
        """The tokens of an empty item, for classifier-free guidance and for grounds."""
        self.placement = Placement(config.user) if config.grounds else None
        self.decision = Decision(config.palettes, config.backdrops, config.user) if config.palettes else None
        self.studios = Studios(config.studios, config.tokens, config.vlm) if config.studios else None
        self.register_buffer("centre", torch.zeros(config.tokens, config.vlm))
        self.register_buffer("spread", torch.ones(()))
        """Hidden states of different items differ little: their difference from the mean is scaled to unit deviation."""

    def read(self, vlm: Any, inputs: dict[str, Tensor]) -> Tensor:
        """The item's part of a brief: (B, M, D_vlm). It depends on title and references only, so it can be cached."""
        return self.standard(self.meta_tokens.read(vlm, inputs))

    def standard(self, hidden: Tensor) -> Tensor:
        """Hidden states (B, M, D_vlm), centred over items and scaled."""
        return (hidden - self.centre) / self.spread

    @torch.no_grad()
    def standardise(self, hidden: Tensor) -> None:
        """Set centre and spread from the hidden states of many items, (N, M, D_vlm)."""
        self.centre.copy_(hidden.mean(0))
        self.spread.copy_((hidden - self.centre).std())

    def forward(self, items: Tensor, users: Tensor, strength: Tensor | float = 1.0) -> tuple[Tensor, Tensor | None]:
        """items (B, M, D_vlm), users (B, U) unit or zero rows -> prompt_embeds (B, M, W) and pooled or None.

        Raises BriefError for users of another width.
        """
        self.check_width(users.shape[-1])
        return self.connector(self.refiner(items, users, strength))

    def check_width(self, width: int) -> None:
        """Raise BriefError if the width is not that of this adapter's user embeddings."""
        if width != self.config.user:
            raise BriefError(f"user_embedding width={width}; allowed: {self.config.user}")

    def unconditional(self, batch: int) -> tuple[Tensor, Tensor | None]:
        """The conditioning without item and user, for classifier-free guidance."""
        return self(self.nothing.expand(batch, -1, -1), self.nothing.new_zeros(batch, self.config.user))

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config.json and model.safetensors."""
        save_module(Path(folder), asdict(self.config), self, dtype)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> IcgAdapter:
        """Read a folder of `save_pretrained`. Raises CheckpointError if a file is missing or widths do not match."""
        return load_module("adapter", Path(folder), lambda _: cls(AdapterConfig.read(Path(folder))))

    def check(self, vlm: Any, spec: ConditioningSpec, draws: str = "") -> None:
        """Raise CheckpointError if this adapter does not fit the VLM, or a denoiser of this spec and class."""
        fits(self.config, vlm.config.model_type, vlm.get_input_embeddings().weight.shape[1], draws, spec)


def fits(config: AdapterConfig, reads: str, width: int, draws: str, spec: ConditioningSpec) -> None:
    """Raise CheckpointError unless the adapter fits a VLM of family `reads` and this width, and a denoiser of class `draws`."""
    pairs = (
        ("vlm width", config.vlm, width, "the width of this VLM"),
        ("caption width", config.caption, spec.width, "of this denoiser"),
        ("pooled width", config.pooled, spec.pooled, "of this denoiser"),
        ("reads", config.reads, config.reads and reads, "the family of this VLM"),
        ("draws", config.draws, config.draws and draws, "the class of this denoiser"),
    )
    for name, actual, expected, owner in pairs:
        if actual != expected:
            raise CheckpointError(f"adapter {name}={actual}; allowed: {expected}, {owner}")
