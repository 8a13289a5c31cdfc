"""Upscaling of images by any Swin2SR checkpoint (arXiv:2209.11345, the successor of SwinIR), in tiles without seams. Knows no covers.

An image is extended by its mirror image and cut into tiles on the grid of the network's windows. Tiles overlap and are blended. A pixel
weighs less the nearer it is to its tile's edge, where the network lacks context that it would have in the whole image.
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
"""Share of an overlap at a tile's edge with weight 0: 25 pixels, the reach of the starter's upscaler."""
BATCH = 2
"""Tiles in one call."""
PART = "upscaler"
SHIPPED = f"eyecatch-starter-0.1/{PART}"


def name_of(source: Path | str) -> str:
    """The name in provenance: of a folder, its own name; of a folder `upscaler`, with its checkpoint's name before it."""
    if isinstance(source, str):
        return source
    folder = source.resolve()
    return f"{folder.parent.name}/{PART}" if folder.name == PART else folder.name


class Upscaler:
    """`model`: a Swin2SRForImageSuperResolution. `factor`: of the edges' enlargement, the model's own or a divisor of it; for a divisor
    the result is scaled down. `tile`, `overlap`: in pixels of the input, multiples of the model's window.

    Raises IcgError for values that are not allowed.
    """

    def __init__(
        self, model: Any, factor: int | None = None, tile: int = TILE, overlap: int = OVERLAP, name: str = "upscaler"
    ) -> None:
        native, self.window = int(model.config.upscale), int(model.config.window_size)
        allowed = [n for n in range(2, native + 1) if native % n == 0]
        if not allowed or (model.config.num_channels, model.config.num_channels_out) != (3, 3):
            raise CheckpointError(
                f"upscaler: upscale={native}, num_channels={model.config.num_channels}; allowed: 2 or more, and 3"
            )
        if factor is not None and factor not in allowed:
            raise IcgError(f"factor={factor!r}; allowed: {' or '.join(map(str, allowed))} with this checkpoint")
        if tile % self.window or overlap % self.window or not 0 <= 2 * overlap <= tile or tile <= 0:
            raise IcgError(
                f"tile={tile}, overlap={overlap}; allowed: multiples of {self.window}, the overlap at most half a tile"
            )
        self.model, self.name, self.tile, self.overlap = model.eval().requires_grad_(False), name, tile, overlap
        self.factor, self._native = factor or native, native

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, factor: int | None = None, device: str | torch.device = "cpu", **options: Any
    ) -> Upscaler:
        """folder: a local folder, or the name of a checkpoint on the hub. options: further arguments of the constructor.

        Raises CheckpointError if files are missing, pickled, incomplete or not of Swin2SR.
        """
        from transformers import Swin2SRForImageSuperResolution

        local = Path(folder)
        if isinstance(folder, Path) or local.is_absolute() or local.exists():  # else a name on the hub
            weights("upscaler", local)
            kind = read_json("upscaler", local / "config.json").get("model_type")
            if kind != "swin2sr":
                raise CheckpointError(f"upscaler={str(folder)!r}: model_type={kind!r}; allowed: 'swin2sr'")
        device = check_device(device)
        try:
            loaded: Any = Swin2SRForImageSuperResolution.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            model, report = loaded
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"upscaler={str(folder)!r}: not readable ({error}); allowed: a Swin2SR checkpoint of transformers"
            ) from error
        if report["missing_keys"] or report["mismatched_keys"]:  # transformers would use random weights
            names = ", ".join(sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))[:3])
            raise CheckpointError(
                f"upscaler={str(folder)!r}: weights do not fit ({names}); allowed: those of config.json"
            )
        return cls(model.to(device), factor, name=options.pop("name", local.name), **options)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """RGB or grey images (w, h) -> RGB images (factor w, factor h). The result does not depend on the other images.

        Raises IcgError naming the image: it is transparent, an edge is below the model's window, or the result exceeds MAX_PIXELS.
        """
        pictures = [self._checked(f"images[{n}]", image) for n, image in enumerate(images)]
        return [self._upscale(picture) for picture in pictures]

    def _checked(self, name: str, image: Image.Image) -> Image.Image:
        if not isinstance(image, Image.Image):
            raise IcgError(f"{name} is {type(image).__name__}; allowed: a PIL image")
        w, h = image.size
        most = MAX_PIXELS // self._native**2
        if min(w, h) < self.window or w * h > most:
            raise IcgError(
                f"{name} of {w}x{h} pixels; allowed: edges of {self.window} or more, and at most {most} pixels, which become {MAX_PIXELS}"
            )
        if image.has_transparency_data and not _opaque(image):
            raise IcgError(f"{name} is {image.mode} with transparent pixels; allowed: an opaque picture")
        return image.convert("RGB")

    def _upscale(self, image: Image.Image) -> Image.Image:
        w, h = image.size
        rim = self._rim
        around = [(rim, self._padded(edge) - edge - rim) for edge in (h, w)]
        mirrored = np.pad(np.asarray(image, np.float32) / 255, (*around, (0, 0)), "symmetric")
        large = self.tensor(torch.from_numpy(mirrored).permute(2, 0, 1))
        y, x = (slice(rim * self._native, (rim + edge) * self._native) for edge in (h, w))
        pixels = large[:, y, x].mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        result = Image.fromarray(np.ascontiguousarray(pixels))
        return result if self.factor == self._native else result.reduce(self._native // self.factor)

    @torch.inference_mode()
    def tensor(self, pixels: Tensor) -> Tensor:
        """(3, H, W) in [0, 1], edges multiples of the window -> (3, H * upscale, W * upscale) on the CPU, not clipped, by the model's own
        factor. An edge longer than a tile is cut into tiles."""
        n, whole = self._native, pixels.shape[1:]
        size = [min(self.tile, edge) for edge in whole]
        corners = list(product(*(_starts(edge, tile, self.overlap) for edge, tile in zip(whole, size, strict=True))))
        total, weight = torch.zeros(3, n * whole[0], n * whole[1]), torch.zeros(n * whole[0], n * whole[1])
        for i in range(0, len(corners), BATCH):
            tiles = [pixels[:, y : y + size[0], x : x + size[1]] for y, x in corners[i : i + BATCH]]
            upscaled = self._run(torch.stack(tiles))
            for (y, x), tile in zip(corners[i : i + BATCH], upscaled, strict=True):
                down, across = (
                    _tile_weights(n * size[axis], n * self.overlap, start > 0, start + size[axis] < whole[axis])
                    for axis, start in enumerate((y, x))
                )
                at = slice(n * y, n * (y + size[0])), slice(n * x, n * (x + size[1]))
                total[:, *at] += tile * (down[:, None] * across)
                weight[at] += down[:, None] * across
        return total / weight

    def borders(self, edge: int) -> list[int]:
        """Positions along an edge of an image, in its pixels, at which tiles begin or end."""
        whole = self._padded(edge)
        tile = min(self.tile, whole)
        ends = [at for start in _starts(whole, tile, self.overlap) for at in (start, start + tile)]
        return sorted({at - self._rim for at in ends if 0 < at < whole})

    @property
    def _rim(self) -> int:
        """Pixels of mirror image around the image. A whole window gives no better result and takes half as long again."""
        return self.window // 2

    def _padded(self, edge: int) -> int:
        return edge + 2 * self._rim + -(edge + 2 * self._rim) % self.window

    def _run(self, tiles: Tensor) -> Tensor:
        device = next(self.model.parameters()).device
        upscaled: Tensor = self.model(tiles.to(device)).reconstruction.float().cpu()
        return upscaled


def _opaque(image: Image.Image) -> bool:
    return bool((np.asarray(image.convert("RGBA"))[..., 3] == 255).all())


def _starts(whole: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles; the last tile ends at the edge's end."""
    return [*range(0, whole - tile, tile - overlap), whole - tile] if whole > tile else [0]


def _tile_weights(edge: int, overlap: int, before: bool, after: bool) -> Tensor:
    """(edge,): weights of a tile's pixels, falling to 0 over `overlap` on the sides that have a neighbour."""
    weights = torch.ones(edge)
    if overlap and before:
        weights[:overlap] = _ramp(overlap)
    if overlap and after:
        weights[-overlap:] *= _ramp(overlap).flip(0)
    return weights


def _ramp(overlap: int) -> Tensor:
    """0 to 1 over the middle of an overlap, 0 and 1 on its outer parts."""
    at = (torch.arange(overlap) + 0.5) / overlap
    return ((at - EDGE) / (1 - 2 * EDGE)).clamp(0, 1)
