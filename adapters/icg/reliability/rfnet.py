"""RFNet: classifies what is wrong with a picture from cut-out, picture, depth, saliency and caption (arXiv:2408.00418, RFNet's section).

Knows no training, and not where depth and saliency come from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icg.checkpoints import load_module, save_module
from icg.errors import IcgError
from icg.reliability.config import CAPTION, DEPTH, PRODUCT, SALIENCY, RFNetConfig
from icg.reliability.encoders import ImageEncoder, TextEncoder
from icg.reliability.public import image_encoder, text_encoder


@dataclass(frozen=True)
class Cues:
    """A batch. product, picture: (B, 3, side, side) in [-1, 1]; the product is alone on a plain ground, at its place in the picture.

    depth, saliency: (B, 1, side, side) in [0, 1]. ids, mask: (B, L) of `RFNet.tokens`. Inputs that a network does not use may be
    None.
    """

    product: Tensor | None = None
    picture: Tensor | None = None
    depth: Tensor | None = None
    saliency: Tensor | None = None
    ids: Tensor | None = None
    mask: Tensor | None = None

    def to(self, device: str | torch.device) -> Cues:
        """The same batch on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Cues(**{name: value if value is None else value.to(device) for name, value in values.items()})


class FeatureFilter(nn.Module):
    """e_f = Conv(Conv(CrossAttn(e_o, e_c)) * Conv(e_o)) + e_o: selects the product's features that the caption mentions.

    Ours adds a norm after the attention: without it, captions that share most words hardly differ at first.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ask = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        for name in ("said", "seen", "joined"):  # the names in saved weights
            self.add_module(name, nn.Conv2d(width, width, 3, padding=1))

    def forward(self, product: Tensor, caption: Tensor, mask: Tensor) -> Tensor:
        """product (B, h * w, D), of a square; caption (B, L, D); mask (B, L), true for its tokens -> the shape of `product`."""
        edge = round(product.shape[1] ** 0.5)
        words, _ = self.ask(product, caption, caption, key_padding_mask=~mask, need_weights=False)
        text, image = (tokens.mT.unflatten(2, (edge, edge)) for tokens in (self.norm(words), product))
        return self.joined(self.said(text) * self.seen(image)).flatten(2).mT + product


class RFNet(nn.Module):
    """Every picture cue has its own encoder, a copy of `image`. Raises IcgError if encoders and config do not fit."""

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

        Without them, and for small encoders, the weights are random. Raises CheckpointError if a source holds no such model.
        """
        return cls._build(config, image, text, True).train()

    def tokens(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """B captions -> ids and mask (B, L), L <= config.words; longer ones are cut. IcgError for a network without captions."""
        if self.text is None:
            raise IcgError(f"captions of an rfnet with cues={self.config.cues}; allowed: with {CAPTION!r}")
        return self.text.tokens(captions, self.config.words)

    def forward(self, cues: Cues) -> Tensor:
        """(B, config.outputs) logits, differentiable in every picture. IcgError names an input that does not fit."""
        self._check(cues)
        tokens = {cue: self.enter[cue](self._encode(cue, getattr(cues, cue))) for cue in self.config.pictures}
        mask = cues.mask
        if self.text is not None:
            caption = self.enter[CAPTION](self.text(cues.ids, mask))
            for layer in self.filters:
                tokens[PRODUCT] = layer(tokens[PRODUCT], caption, mask)
        x = torch.cat([rows + self.kinds[cue] + self.places for cue, rows in tokens.items()], 1)
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if self.text is not None and not self.filters:  # without a product to filter, the caption itself is fused
            x, valid = torch.cat([x, caption + self.kinds[CAPTION]], 1), torch.cat([valid, mask], 1)
        if self.fuse is not None:
            x = self.fuse(x, src_key_padding_mask=~valid)
        return self.leave((x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True))

    def probabilities(self, cues: Cues) -> Tensor:
        """(B, config.outputs), summing to 1; the first is the probability of "available"."""
        return self(cues).softmax(-1)

    def _encode(self, cue: str, pixels: Tensor) -> Tensor:
        """(B, 3 or 1, side, side) -> (B, places, the encoder's width)."""
        if cue in (DEPTH, SALIENCY):
            pixels = (pixels * 2 - 1).expand(-1, 3, -1, -1)
        return self.images[cue](pixels).flatten(2).mT

    def _check(self, cues: Cues) -> None:
        # Values are checked on the CPU only: on another device each check waits for all queued work.
        side, count = self.config.side, None
        for name in self.config.pictures:
            channels, value = 1 if name in (DEPTH, SALIENCY) else 3, getattr(cues, name)
            allowed = f"allowed: finite floating ({'B' if count is None else count}, {channels}, {side}, {side})"
            if value is None:
                raise IcgError(f"{name}=None; {allowed}")
            shape = tuple(value.shape)
            if shape[1:] != (channels, side, side) or shape[0] != (count or shape[0] or 1):
                raise IcgError(f"{name} of shape {shape}; {allowed}")
            if not value.is_floating_point() or (value.is_cpu and not value.isfinite().all()):
                raise IcgError(f"{name} of {value.dtype} with values up to {value.max()}; {allowed}")
            count = len(value)
        if self.text is not None:
            self._check_caption(cues, self.text.vocabulary, count)

    def _check_caption(self, cues: Cues, vocabulary: int, count: int | None) -> None:
        most = self.config.words
        allowed = f"allowed: both ({count}, L) with L in 1..{most}, as `tokens` makes them"
        if cues.ids is None or cues.mask is None:
            raise IcgError(f"{'ids' if cues.ids is None else 'mask'}=None; {allowed}")
        ids, mask = cues.ids, cues.mask
        if ids.shape != mask.shape or ids.ndim != 2 or len(ids) != count or not 1 <= ids.shape[1] <= most:
            raise IcgError(f"ids of shape {tuple(ids.shape)}, mask {tuple(mask.shape)}; {allowed}")
        if ids.dtype != torch.long or mask.dtype != torch.bool or (ids.is_cpu and not mask.any(1).all()):
            raise IcgError(f"ids of {ids.dtype}, mask of {mask.dtype}; allowed: int64, bool, a token a row or more")
        if ids.is_cpu and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
            raise IcgError(f"ids={int(ids.min())}..{int(ids.max())}; allowed: 0..{vocabulary - 1}")

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors; in image/ and text/ the files of transformers' encoders."""
        folder = Path(folder)
        save_module(folder, asdict(self.config), self, dtype)
        for part, encoder in (("image", next(iter(self.images.values()))), ("text", self.text)):
            if encoder is not None:
                encoder.save_files(folder / part)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> RFNet:
        """Read a folder of `save_pretrained`. Raises CheckpointError if a file is missing, a pickle or of other widths."""
        folder = Path(folder)

        def build(_: dict[str, Any]) -> RFNet:
            config = RFNetConfig.read(folder)
            image, text = (folder / part if getattr(config, part) != "small" else None for part in ("image", "text"))
            return cls._build(config, image, text, False)

        return load_module("rfnet", folder, build)

    @classmethod
    def _build(cls, config: RFNetConfig, image: str | Path | None, text: str | Path | None, trained: bool) -> RFNet:
        words = text_encoder(config.text, config.words, text, trained) if CAPTION in config.cues else None
        return cls(config, image_encoder(config.image, image, trained, config.channels), words)
