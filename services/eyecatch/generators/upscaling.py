"""The in-process upscaler: enlarges covers with a Swin2SR checkpoint through icg. Heavy packages are imported at the first use."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from icg.provenance import read, to_png
from PIL import Image

from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.core.generator import GeneratedCover

if TYPE_CHECKING:
    from icg.models.upscale import Upscaler


PART = "upscaler"
"""The folder of the upscaler inside a checkpoint."""


class LocalUpscaler:
    """Enlarges one picture at a time, in a thread. `source`: a folder, the name of a checkpoint on the hub, or "" for the shipped one.

    Raises InvalidInput for a folder that is no Swin2SR checkpoint or cannot enlarge by `factor`. Weights are read at the first cover.
    """

    def __init__(self, factor: int, source: str = "") -> None:
        from icg import starter
        from icg.checkpoints import read_json
        from icg.errors import IcgError
        from icg.models.upscale import SHIPPED, name_of

        self._source: Path | str = source or starter.path() / "upscaler"
        if Path(self._source).exists():
            self._source = Path(self._source)
            try:
                config = read_json("upscaler", self._source / "config.json")
            except IcgError as error:
                raise InvalidInput.of("upscaler", source, str(error)) from error
            scale = config.get("upscale", 0)
            if config.get("model_type") != "swin2sr" or not isinstance(scale, int):
                raise InvalidInput.of("upscaler", source, f"a Swin2SR checkpoint, not {config.get('model_type')!r}")
            if scale % factor:
                allowed = " or ".join(str(n) for n in range(1, scale + 1) if scale % n == 0)
                raise InvalidInput.of("upscale", factor, f"{allowed} with this upscaler")
        self.name = SHIPPED if not source else name_of(self._source)
        self._factor, self._turn = factor, asyncio.Lock()
        self._loaded: Upscaler | None = None

    async def upscale(self, cover: GeneratedCover, picture: bytes = b"") -> GeneratedCover:
        async with self._turn:
            return await asyncio.to_thread(self._upscale, cover, picture)

    def _upscale(self, cover: GeneratedCover, picture: bytes) -> GeneratedCover:
        from icg.errors import CheckpointError, IcgError
        from icg.pictures import decode

        try:
            if self._loaded is None:
                self._loaded = _load(self._source, self._factor)
            (large,) = self._loaded([decode(cover.image, "cover")])
            large = _renewed(large, cover, picture)
        except (CheckpointError, OSError, RuntimeError, MemoryError) as error:
            raise Unavailable(f"the upscaler {self.name}: {error}") from error
        except IcgError as error:
            raise InvalidInput.of("cover", f"{cover.width} x {cover.height}", str(error)) from error
        return replace(cover, image=self._encoded(cover, large), suffix="png", width=large.width, height=large.height)

    def _encoded(self, cover: GeneratedCover, large: Image.Image) -> bytes:
        names = ("model", "adapter", "seed", "steps", "brief_digest")
        provenance = {name: getattr(cover, name) for name in names} | read(cover.image)
        return to_png(large, provenance | {"upscaled": f"{self._factor}x by {self.name}"}, optimize=False)


def _renewed(large: Image.Image, cover: GeneratedCover, picture: bytes) -> Image.Image:
    """`large` with the item's own picture in its own pixels, if it is larger than the cover shows it."""
    from icg.compose.cover import renewed
    from icg.compose.layout import Place
    from icg.compose.subject import cropped, product_of
    from icg.pictures import decode

    where = read(cover.image).get("place")
    if not (picture and isinstance(where, list)):
        return large
    product, place = product_of(decode(picture, "picture", "")), Place(*where)
    if product is None:
        return large
    shown = place.edge * min(cover.width, cover.height)
    return renewed(large, product, place) if max(cropped(product).size) > shown else large


def _load(source: Path | str, factor: int) -> "Upscaler":
    import torch
    import transformers
    from icg.models.upscale import Upscaler

    # Its progress bar would be mixed with the output of the process.
    transformers.utils.logging.disable_progress_bar()
    return Upscaler.from_pretrained(source, factor, "cuda" if torch.cuda.is_available() else "cpu")
