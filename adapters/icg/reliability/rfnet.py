"""RFNet: cut-out, picture, depth, saliency and caption in, what is wrong with the picture out (arXiv:2408.00418, RFNet's section).

Knows no training, and not where depth and saliency come from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from icg.checkpoints import weights
from icg.errors import CheckpointError, IcgError
from icg.reliability.config import CAPTION, DEPTH, PRODUCT, SALIENCY, RFNetConfig
from icg.reliability.encoders import ImageEncoder, TextEncoder
from icg.reliability.public import image_encoder, text_encoder


@dataclass(frozen=True)
class Cues:
    """A batch. product, picture: (B, 3, side, side) in [-1, 1], the product alone on a plain ground, where the picture has it.

    depth, saliency: (B, 1, side, side) in [0, 1]. ids, mask: (B, L) as `RFNet.tokens` makes them of captions. What a network
    does not use may be None.
    """

    product: Tensor | None = None
    picture: Tensor | None = None
    depth: Tensor | None = None
    saliency: Tensor | None = None
    ids: Tensor | None = None
    mask: Tensor | None = None

    def to(self, device: str | torch.device) -> Cues:
        """The same on another device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Cues(**{name: value if value is None else value.to(device) for name, value in moved.items()})


class FeatureFilter(nn.Module):
    """e_f = Conv(Conv(CrossAttn(e_o, e_c)) * Conv(e_o)) + e_o: of the product's features, those that its caption speaks of.

    Our attention ends with a norm: captions that share most words would else make next to no difference at first.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ask = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.said, self.seen, self.joined = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))

    def forward(self, product: Tensor, caption: Tensor, mask: Tensor) -> Tensor:
        """product (B, h * w, D), of a square, caption (B, L, D), mask (B, L) true for its tokens -> as product."""
        edge = round(product.shape[1] ** 0.5)
        asked, _ = self.ask(product, caption, caption, key_padding_mask=~mask, need_weights=False)
        said, seen = (tokens.mT.unflatten(2, (edge, edge)) for tokens in (self.norm(asked), product))
        return self.joined(self.said(said) * self.seen(seen)).flatten(2).mT + product


class RFNet(nn.Module):
    """Every picture gets an encoder of its own, a copy of `image`. Raises IcgError where encoders and config do not fit."""

    def __init__(self, config: RFNetConfig, image: ImageEncoder, text: TextEncoder | None = None) -> None:
        super().__init__()
        self.config, width = config, config.width
        if config.side % image.stride:
            raise IcgError(f"rfnet side={config.side}; allowed: a multiple of {image.stride}, its encoder's stride")
        if (text is not None) != (CAPTION in config.cues):
            had = "no text encoder" if text is None else type(text).__name__
            raise IcgError(f"rfnet cues={config.cues} with {had}; allowed: one exactly where {CAPTION!r} is a cue")
        if text is not None and config.words > text.longest:
            raise IcgError(f"rfnet words={config.words}; allowed: at most {text.longest}, its encoder's")
        self.images = nn.ModuleDict({cue: copy.deepcopy(image) for cue in config.pictures})
        self.text = text
        widths = dict.fromkeys(config.pictures, image.width) | ({CAPTION: text.width} if text else {})
        self.enter = nn.ModuleDict(
            {cue: nn.Sequential(nn.Linear(w, width), nn.LayerNorm(width)) for cue, w in widths.items()}
        )
        self.kinds = nn.ParameterDict({cue: nn.Parameter(torch.randn(width) * 0.02) for cue in widths})
        self.places = nn.Parameter(torch.randn((config.side // image.stride) ** 2, width) * 0.02)
        count = config.filters if config.filtered else 0
        self.filters = nn.ModuleList(FeatureFilter(width, config.heads) for _ in range(count))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 4 * width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.fuse = (
            nn.TransformerEncoder(layer, config.fusions, nn.LayerNorm(width), enable_nested_tensor=False)
            if config.fusions
            else None
        )
        self.leave = nn.Linear(width, config.outputs)

    @classmethod
    def build(cls, config: RFNetConfig, image: str | Path | None = None, text: str | Path | None = None) -> RFNet:
        """A network to train. `image`, `text`: folders or hub ids of a ResNet and a RoBERTa to start from.

        CheckpointError when they hold none; without them, and for small encoders, the weights are random.
        """
        return cls._made(config, image, text, True).train()

    def tokens(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """B captions -> ids and mask (B, L), L <= config.words; the rest is cut. IcgError of a network without captions."""
        if self.text is None:
            raise IcgError(f"captions of an rfnet with cues={self.config.cues}; allowed: with {CAPTION!r}")
        return self.text.tokens(captions, self.config.words)

    def forward(self, cues: Cues) -> Tensor:
        """(B, config.outputs) logits, differentiable in every picture. IcgError names what does not fit."""
        self._check(cues)
        found = {cue: self.enter[cue](self._seen(cue, getattr(cues, cue))) for cue in self.config.pictures}
        mask = cues.mask
        if self.text is not None:
            said = self.enter[CAPTION](self.text(cues.ids, mask))
            for layer in self.filters:
                found[PRODUCT] = layer(found[PRODUCT], said, mask)
        x = torch.cat([tokens + self.kinds[cue] + self.places for cue, tokens in found.items()], 1)
        there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if self.text is not None and not self.filters:  # there is no product to filter: the caption itself is fused
            x, there = torch.cat([x, said + self.kinds[CAPTION]], 1), torch.cat([there, mask], 1)
        if self.fuse is not None:
            x = self.fuse(x, src_key_padding_mask=~there)
        return self.leave((x * there[..., None]).sum(1) / there.sum(1, keepdim=True))

    def probabilities(self, cues: Cues) -> Tensor:
        """(B, config.outputs), adding up to 1; the first is that of being available."""
        return self(cues).softmax(-1)

    def _seen(self, cue: str, pixels: Tensor) -> Tensor:
        """(B, 3 or 1, side, side) -> (B, places, the encoder's width)."""
        if cue in (DEPTH, SALIENCY):
            pixels = (pixels * 2 - 1).expand(-1, 3, -1, -1)
        return self.images[cue](pixels).flatten(2).mT

    def _check(self, cues: Cues) -> None:
        # Values are looked at on the CPU alone: on another device each look would wait for all that is queued there.
        side, count = self.config.side, None
        for name in self.config.pictures:
            channels, value = 1 if name in (DEPTH, SALIENCY) else 3, getattr(cues, name)
            wanted = f"allowed: finite floating ({'B' if count is None else count}, {channels}, {side}, {side})"
            if value is None:
                raise IcgError(f"{name}=None; {wanted}")
            shape = tuple(value.shape)
            if shape[1:] != (channels, side, side) or shape[0] != (count or shape[0] or 1):
                raise IcgError(f"{name} of shape {shape}; {wanted}")
            if not value.is_floating_point() or (value.is_cpu and not value.isfinite().all()):
                raise IcgError(f"{name} of {value.dtype} with values up to {value.max()}; {wanted}")
            count = len(value)
        if self.text is None:
            return
        wanted = f"allowed: both ({count}, L) with L in 1..{self.config.words}, as `tokens` makes them"
        if cues.ids is None or cues.mask is None:
            raise IcgError(f"{'ids' if cues.ids is None else 'mask'}=None; {wanted}")
        shape = tuple(cues.ids.shape)
        if (
            shape != tuple(cues.mask.shape)
            or len(shape) != 2
            or shape[0] != count
            or not 1 <= shape[1] <= self.config.words
        ):
            raise IcgError(f"ids of shape {shape}, mask {tuple(cues.mask.shape)}; {wanted}")
        looked_at = cues.ids.is_cpu
        if cues.ids.dtype != torch.long or cues.mask.dtype != torch.bool or (looked_at and not cues.mask.any(1).all()):
            raise IcgError(
                f"ids of {cues.ids.dtype}, mask of {cues.mask.dtype}; allowed: int64, bool, a token a row or more"
            )
        if looked_at and not 0 <= int(cues.ids.min()) <= int(cues.ids.max()) < self.text.vocabulary:
            raise IcgError(f"ids={int(cues.ids.min())}..{int(cues.ids.max())}; allowed: 0..{self.text.vocabulary - 1}")

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors; image/ and text/ with what encoders of transformers need."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(self.config.to_json())
        for part, encoder in (("image", next(iter(self.images.values()))), ("text", self.text)):
            if encoder is not None:
                encoder.save_files(folder / part)
        stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in self.state_dict().items()}
        save_file({k: v.contiguous() for k, v in stored.items()}, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> RFNet:
        """Read what `save_pretrained` wrote; CheckpointError when a file is missing, a pickle or of other widths."""
        folder = Path(folder)
        config = RFNetConfig.read(folder)
        weights("rfnet", folder)
        image, text = (folder / part if getattr(config, part) != "small" else None for part in ("image", "text"))
        try:
            made = cls._made(config, image, text, False)
            stored = load_file(folder / "model.safetensors")
            made.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in stored.items()})
        except CheckpointError:
            raise
        except (IcgError, RuntimeError, OSError, SafetensorError) as error:
            raise CheckpointError(f"rfnet={str(folder)!r}: does not match its config.json ({error})") from error
        return made.eval()

    @classmethod
    def _made(cls, config: RFNetConfig, image: str | Path | None, text: str | Path | None, trained: bool) -> RFNet:
        reads = CAPTION in config.cues
        words = text_encoder(config.text, config.words, text, trained) if reads else None
        return cls(config, image_encoder(config.image, image, trained, config.channels), words)
