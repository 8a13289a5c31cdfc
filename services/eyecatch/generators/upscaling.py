"""The in-process upscaler: kept covers -> larger ones on a Swin2SR checkpoint through icg. Heavy imports wait for the first use."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from icg.provenance import read, to_png
from PIL import Image

from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.core.ports import GeneratedCover

if TYPE_CHECKING:
    from icg.models.upscale import Upscaler


PART = "upscaler"
"""The folder of a checkpoint that holds one."""


class LocalUpscaler:
    """One picture at a time, in a thread beside the loop. `source`: a folder, or a checkpoint's name on the hub; empty: the shipped one.

    Raises InvalidInput for a folder whose configuration is none of a Swin2SR that can do `factor`; weights are read at the first cover.
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
            own = config.get("upscale", 0)
            if config.get("model_type") != "swin2sr" or not isinstance(own, int):
                raise InvalidInput.of("upscaler", source, f"a Swin2SR checkpoint, not {config.get('model_type')!r}")
            if own % factor:
                allowed = " or ".join(str(n) for n in range(1, own + 1) if own % n == 0)
                raise InvalidInput.of("upscale", factor, f"{allowed} with this upscaler")
        self.name = SHIPPED if not source else name_of(self._source)
        self._factor, self._turn = factor, asyncio.Lock()
        self._loaded: Upscaler | None = None

    async def upscale(self, made: GeneratedCover) -> GeneratedCover:
        async with self._turn:
            return await asyncio.to_thread(self._upscale, made)

    def _upscale(self, made: GeneratedCover) -> GeneratedCover:
        from icg.errors import CheckpointError, IcgError
        from icg.pictures import decode

        try:
            if self._loaded is None:
                self._loaded = _load(self._source, self._factor)
            (large,) = self._loaded([decode(made.image, "cover")])
        except (CheckpointError, OSError, RuntimeError, MemoryError) as error:
            raise Unavailable(f"the upscaler {self.name}: {error}") from error
        except IcgError as error:
            raise InvalidInput.of("cover", f"{made.width} x {made.height}", str(error)) from error
        return replace(made, image=self._encoded(made, large), suffix="png", width=large.width, height=large.height)

    def _encoded(self, made: GeneratedCover, large: Image.Image) -> bytes:
        said = {
            "model": made.model,
            "adapter": made.adapter,
            "seed": made.seed,
            "steps": made.steps,
            "brief_digest": made.brief_digest,
        }
        return to_png(
            large, {**said, **read(made.image), "upscaled": f"{self._factor}x by {self.name}"}, optimize=False
        )


def _load(source: Path | str, factor: int) -> "Upscaler":
    import torch
    import transformers
    from icg.models.upscale import Upscaler

    # Its loading bar would land between the lines of whoever runs us.
    transformers.utils.logging.disable_progress_bar()
    return Upscaler.from_pretrained(source, factor, "cuda" if torch.cuda.is_available() else "cpu")
