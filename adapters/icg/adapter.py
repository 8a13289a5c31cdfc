"""The adapter: meta tokens, refiner and connector as one checkpoint between a frozen VLM and a diffusion model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from icg.connector import ConditioningSpec, Connector
from icg.errors import BriefError, CheckpointError
from icg.meta_tokens import MetaTokens
from icg.refiner import Refiner


@dataclass(frozen=True)
class AdapterConfig:
    """Widths: `vlm` of the VLM's hidden states, `user` of user embeddings, `caption` and `pooled` of the denoiser."""

    vlm: int
    caption: int
    pooled: int = 0
    user: int = 64
    tokens: int = 16
    layers: int = 2
    heads: int = 4
    slots: int = 4


class IcgAdapter(nn.Module):
    """Everything that is trained between the two frozen models."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.meta_tokens = MetaTokens(config.tokens, config.vlm)
        self.refiner = Refiner(config.vlm, config.user, config.slots, config.heads)
        self.connector = Connector(
            config.vlm, ConditioningSpec(config.caption, config.pooled), config.layers, config.heads
        )
        self.nothing = nn.Parameter(torch.randn(config.tokens, config.vlm) * 0.02)
        """Stands for "no item" in guidance."""
        self.register_buffer("centre", torch.zeros(config.tokens, config.vlm))
        self.register_buffer("spread", torch.ones(()))
        """Hidden states are mostly the same whatever the item: what differs is brought to unit deviation."""

    def read(self, vlm: Any, inputs: dict[str, Tensor]) -> Tensor:
        """The item's part of a brief: (B, M, D_vlm). Depends on title and references only, so it can be cached."""
        return self.standard(self.meta_tokens.read(vlm, inputs))

    def standard(self, hidden: Tensor) -> Tensor:
        """(B, M, D_vlm) hidden states, centred over items and scaled."""
        return (hidden - self.centre) / self.spread

    @torch.no_grad()
    def standardise(self, hidden: Tensor) -> None:
        """Take centre and spread from the hidden states of many items, (N, M, D_vlm)."""
        self.centre.copy_(hidden.mean(0))
        self.spread.copy_((hidden - self.centre).std())

    def forward(self, items: Tensor, users: Tensor, strength: Tensor | float = 1.0) -> tuple[Tensor, Tensor | None]:
        """items (B, M, D_vlm), users (B, U) unit or zero rows -> prompt_embeds (B, M, W) and pooled or None."""
        if users.shape[-1] != self.config.user:
            raise BriefError(f"user_embedding width={users.shape[-1]}; allowed: {self.config.user}")
        if not torch.isfinite(users).all():
            raise BriefError("user_embedding holds NaN or infinity; allowed: finite numbers")
        return self.connector(self.refiner(items, users, strength))

    def unconditional(self, batch: int) -> tuple[Tensor, Tensor | None]:
        """Conditioning for no item and no user, for guidance."""
        return self.connector(self.nothing.expand(batch, -1, -1))

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config.json and model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2))
        save_file({k: v.to(dtype).contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> IcgAdapter:
        """Read what `save_pretrained` wrote; CheckpointError when a file is missing or widths do not match."""
        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise CheckpointError(
                    f"adapter={str(folder)!r}: {name} is missing; allowed: a folder of save_pretrained"
                )
        try:
            adapter = cls(AdapterConfig(**json.loads((folder / "config.json").read_text())))
            adapter.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        except (RuntimeError, TypeError) as error:
            raise CheckpointError(f"adapter={str(folder)!r}: does not match its config.json ({error})") from error
        return adapter.eval()

    def check(self, vlm: Any, spec: ConditioningSpec) -> None:
        """CheckpointError when this adapter cannot stand between the VLM and a denoiser of that spec."""
        width = vlm.get_input_embeddings().weight.shape[1]
        if width != self.config.vlm:
            raise CheckpointError(f"adapter vlm width={self.config.vlm}; allowed: {width}, the width of this VLM")
        if spec.width != self.config.caption:
            raise CheckpointError(
                f"adapter caption width={self.config.caption}; allowed: {spec.width}, of this denoiser"
            )
        if spec.pooled != self.config.pooled:
            raise CheckpointError(
                f"adapter pooled width={self.config.pooled}; allowed: {spec.pooled}, of this denoiser"
            )
