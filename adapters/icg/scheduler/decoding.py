"""Latents -> pictures: at once on a CPU; on a GPU beside the next steps, on a stream of its own. Knows no request."""

from __future__ import annotations

import time

import torch
from PIL import Image
from torch import Tensor

from icg.draw.pipeline import CoverPipeline
from icg.models.families import to_bytes


class Decoding:
    """Pictures that may still be on their way from the device."""

    def __init__(
        self, pixels: Tensor, finite: Tensor, seconds: float, events: tuple[torch.cuda.Event, ...] = ()
    ) -> None:
        self._pixels, self._finite, self._seconds, self._events = pixels, finite, seconds, events

    @property
    def ready(self) -> bool:
        """Whether asking for them would not wait."""
        return all(event.query() for event in self._events)

    def pictures(self) -> list[Image.Image | None]:
        """One for each latent, None for those that are not finite. Waits for them."""
        for event in self._events:
            event.synchronize()
        return [
            Image.fromarray(picture) if fine else None
            for picture, fine in zip(self._pixels.numpy(), self._finite.tolist(), strict=True)
        ]

    @property
    def seconds(self) -> float:
        """How long decoding took, once they are there."""
        return self._events[0].elapsed_time(self._events[1]) / 1e3 if self._events else self._seconds


class Decoder:
    """Decodes latents (B, C, h, w) of one size a call."""

    def __init__(self, pipeline: CoverPipeline) -> None:
        self._family = pipeline.family
        self._stream = torch.cuda.Stream(pipeline.device) if pipeline.device.type == "cuda" else None

    def __call__(self, latents: Tensor) -> Decoding:
        """Begins at once; what was computed on the current stream before is waited for."""
        if self._stream is None:
            began = time.perf_counter()
            pixels, finite = self._decode(latents)
            return Decoding(pixels, finite, time.perf_counter() - began)
        self._stream.wait_stream(torch.cuda.current_stream(latents.device))
        begun, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(self._stream):
            begun.record()
            there = self._decode(latents)
            pixels, finite = (torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in there)
            pixels.copy_(there[0], non_blocking=True)
            finite.copy_(there[1], non_blocking=True)
            done.record()
        latents.record_stream(self._stream)  # else its memory could be given away before it was read
        return Decoding(pixels, finite, 0.0, (begun, done))

    def _decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        return to_bytes(self._family.decode(latents)), latents.isfinite().flatten(1).all(1)
