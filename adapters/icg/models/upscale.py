"""Enlarging pictures by any Swin2SR checkpoint (arXiv:2209.11345, the kept SwinIR), in tiles without seams. Knows no covers.

A picture is set into its own mirror image and cut into tiles on the grid of the network's windows. Tiles overlap, and count the less
the nearer they are to their own edge, where a network knows less than it would of the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.brief import MAX_PIXELS
from icg.checkpoints import check_device, read_json, weights
from icg.errors import CheckpointError, IcgError

TILE, OVERLAP = 256, 64
EDGE = 0.4
"""Share of an overlap at a tile's edge that counts nothing: 25 pixels, from where the starter's upscaler sees no more of what it knows."""
BATCH = 2
"""Tiles in memory at once."""
PART = "upscaler"
SHIPPED = f"eyecatch-starter-0.1/{PART}"


def name_of(source: Path | str) -> str:
    """What provenance calls it: a folder's own name, with the name of the checkpoint that it is a part of."""
    if isinstance(source, str):
        return source
    folder = source.resolve()
    return f"{folder.parent.name}/{PART}" if folder.name == PART else folder.name


class Upscaler:
    """`model`: a Swin2SRForImageSuperResolution. `factor`: what edges are multiplied by, the model's own or a divisor of it, to which its
    pictures are then scaled down. `tile`, `overlap`: pixels of what is given, multiples of the model's window.

    IcgError for values that are not allowed.
    """

    def __init__(
        self, model: Any, factor: int | None = None, tile: int = TILE, overlap: int = OVERLAP, name: str = "upscaler"
    ) -> None:
        own, self.window = int(model.config.upscale), int(model.config.window_size)
        allowed = [n for n in range(2, own + 1) if own % n == 0]
        if not allowed or (model.config.num_channels, model.config.num_channels_out) != (3, 3):
            raise CheckpointError(
                f"upscaler: upscale={own}, num_channels={model.config.num_channels}; allowed: 2 or more, and 3"
            )
        if factor is not None and factor not in allowed:
            raise IcgError(f"factor={factor!r}; allowed: {' or '.join(map(str, allowed))} with this checkpoint")
        if tile % self.window or overlap % self.window or not 0 <= 2 * overlap <= tile or tile <= 0:
            raise IcgError(
                f"tile={tile}, overlap={overlap}; allowed: multiples of {self.window}, the overlap at most half a tile"
            )
        self.model, self.name, self.tile, self.overlap = model.eval().requires_grad_(False), name, tile, overlap
        self.factor, self._own = factor or own, own

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, factor: int | None = None, device: str | torch.device = "cpu", **how: Any
    ) -> Upscaler:
        """A local folder, or a checkpoint of the hub by its name; `how` goes to the constructor.

        CheckpointError when files are missing, pickled, incomplete or not Swin2SR's.
        """
        from transformers import Swin2SRForImageSuperResolution

        local = Path(folder)
        if isinstance(folder, Path) or local.is_absolute() or local.exists():  # else the name of one on the hub
            weights("upscaler", local)
            kind = read_json("upscaler", local / "config.json").get("model_type")
            if kind != "swin2sr":
                raise CheckpointError(f"upscaler={str(folder)!r}: model_type={kind!r}; allowed: 'swin2sr'")
        where = check_device(device)
        try:
            loaded: Any = Swin2SRForImageSuperResolution.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            model, report = loaded
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"upscaler={str(folder)!r}: not readable ({error}); allowed: a Swin2SR checkpoint of transformers"
            ) from error
        if report["missing_keys"] or report["mismatched_keys"]:  # transformers would go on with random numbers
            some = ", ".join(sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))[:3])
            raise CheckpointError(
                f"upscaler={str(folder)!r}: weights do not fit ({some}); allowed: those of config.json"
            )
        return cls(model.to(where), factor, name=how.pop("name", local.name), **how)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """RGB pictures (w, h) -> (factor w, factor h), each as if it were alone. Grey ones become RGB.

        IcgError naming the picture: with transparency, an edge below the model's window, or a result of over MAX_PIXELS.
        """
        pictures = [self._checked(f"images[{n}]", image) for n, image in enumerate(images)]
        return [self._one(picture) for picture in pictures]

    def _checked(self, name: str, image: Image.Image) -> Image.Image:
        if not isinstance(image, Image.Image):
            raise IcgError(f"{name} is {type(image).__name__}; allowed: a PIL image")
        w, h = image.size
        most = MAX_PIXELS // self._own**2
        if min(w, h) < self.window or w * h > most:
            raise IcgError(
                f"{name} of {w}x{h} pixels; allowed: edges of {self.window} or more, and at most {most} pixels, which become {MAX_PIXELS}"
            )
        if image.has_transparency_data and not _opaque(image):
            raise IcgError(f"{name} is {image.mode} with transparent pixels; allowed: an opaque picture")
        return image.convert("RGB")

    def _one(self, image: Image.Image) -> Image.Image:
        w, h = image.size
        rim = self._rim
        around = [(rim, self._padded(edge) - edge - rim) for edge in (h, w)]
        mirrored = np.pad(np.asarray(image, np.float32) / 255, (*around, (0, 0)), "symmetric")
        large = self.tensor(torch.from_numpy(mirrored).permute(2, 0, 1))
        y, x = (slice(rim * self._own, (rim + edge) * self._own) for edge in (h, w))
        pixels = large[:, y, x].mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        found = Image.fromarray(np.ascontiguousarray(pixels))
        return found if self.factor == self._own else found.reduce(self._own // self.factor)

    @torch.inference_mode()
    def tensor(self, pixels: Tensor) -> Tensor:
        """(3, H, W) in [0, 1], edges multiples of the window -> (3, H * upscale, W * upscale) on the CPU, not clipped, by the model's own
        factor; in tiles where an edge is longer than one."""
        n, whole = self._own, pixels.shape[1:]
        size = [min(self.tile, edge) for edge in whole]
        places = list(product(*(_starts(edge, tile, self.overlap) for edge, tile in zip(whole, size, strict=True))))
        total, weight = torch.zeros(3, n * whole[0], n * whole[1]), torch.zeros(n * whole[0], n * whole[1])
        for i in range(0, len(places), BATCH):
            tiles = [pixels[:, y : y + size[0], x : x + size[1]] for y, x in places[i : i + BATCH]]
            made = self._run(torch.stack(tiles))
            for (y, x), tile in zip(places[i : i + BATCH], made, strict=True):
                down, across = (
                    _counts(n * size[axis], n * self.overlap, start > 0, start + size[axis] < whole[axis])
                    for axis, start in enumerate((y, x))
                )
                at = slice(n * y, n * (y + size[0])), slice(n * x, n * (x + size[1]))
                total[:, *at] += tile * (down[:, None] * across)
                weight[at] += down[:, None] * across
        return total / weight

    def borders(self, edge: int) -> list[int]:
        """Where, along an edge of a picture, tiles begin or end inside it, in its own pixels."""
        whole = self._padded(edge)
        tile = min(self.tile, whole)
        ends = [at for start in _starts(whole, tile, self.overlap) for at in (start, start + tile)]
        return sorted({at - self._rim for at in ends if 0 < at < whole})

    @property
    def _rim(self) -> int:
        """How far a picture's edge is from where the network sees nothing. A whole window is no better and takes a half longer."""
        return self.window // 2

    def _padded(self, edge: int) -> int:
        return edge + 2 * self._rim + -(edge + 2 * self._rim) % self.window

    def _run(self, tiles: Tensor) -> Tensor:
        device = next(self.model.parameters()).device
        found: Tensor = self.model(tiles.to(device)).reconstruction.float().cpu()
        return found


def _opaque(image: Image.Image) -> bool:
    return bool((np.asarray(image.convert("RGBA"))[..., 3] == 255).all())


def _starts(whole: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin; the last ends where the whole does."""
    return [*range(0, whole - tile, tile - overlap), whole - tile] if whole > tile else [0]


def _counts(edge: int, overlap: int, before: bool, after: bool) -> Tensor:
    """(edge,): how much the pixels of a tile count, falling to 0 over `overlap` on the sides that have a neighbour."""
    counts = torch.ones(edge)
    if overlap and before:
        counts[:overlap] = _ramp(overlap)
    if overlap and after:
        counts[-overlap:] *= _ramp(overlap).flip(0)
    return counts


def _ramp(overlap: int) -> Tensor:
    """0 to 1 over the middle of an overlap; the halves of it that lie at an edge count nothing and all."""
    at = (torch.arange(overlap) + 0.5) / overlap
    return ((at - EDGE) / (1 - 2 * EDGE)).clamp(0, 1)
