"""Latents to pictures: synchronously on a CPU; on a GPU on a stream of its own, beside the next steps. Knows no request."""

from __future__ import annotations

import time

import torch
from PIL import Image
from torch import Tensor

from icg.draw.pipeline import CoverPipeline
from icg.models.families import finite, to_bytes


class Decoding:
    """Pictures that may not have arrived from the device yet."""

    def __init__(
        self, pixels: Tensor, finite: Tensor, seconds: float, events: tuple[torch.cuda.Event, ...] = ()
    ) -> None:
        self._pixels, self._finite, self._seconds, self._events = pixels, finite, seconds, events

    @property
    def ready(self) -> bool:
        """Whether `pictures` would return without waiting."""
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
        """How long decoding took, after they arrived."""
        return self._events[0].elapsed_time(self._events[1]) / 1e3 if self._events else self._seconds


class Decoder:
    """Decodes latents (B, C, h, w) of one size a call."""

    def __init__(self, pipeline: CoverPipeline) -> None:
        self._family = pipeline.family
        self._stream = torch.cuda.Stream(pipeline.device) if pipeline.device.type == "cuda" else None

    def __call__(self, latents: Tensor) -> Decoding:
        """Starts at once, after all work queued on the current stream."""
        if self._stream is None:
            began = time.perf_counter()
            pixels, finite = self._decode(latents)
            return Decoding(pixels, finite, time.perf_counter() - began)
        self._stream.wait_stream(torch.cuda.current_stream(latents.device))
        begun, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(self._stream):
            begun.record()
            decoded = self._decode(latents)
            pixels, finite = (torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in decoded)
            pixels.copy_(decoded[0], non_blocking=True)
            finite.copy_(decoded[1], non_blocking=True)
            done.record()
        latents.record_stream(self._stream)  # keeps its memory allocated until it was read
        return Decoding(pixels, finite, 0.0, (begun, done))

    def _decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        pixels = self._family.decode(latents)
        return to_bytes(pixels), finite(latents, pixels)
