"""Plain counters of a step scheduler, for whoever exports them. All only grow, except `live`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from icg.scheduler.request import Status


@dataclass
class Metrics:
    """`ended`: requests by their last status. `live`: requests waiting and running now. `ticks`: denoising steps of the batch.

    `rows`: latents the denoiser was asked for, `calls`: in how many calls. Seconds: `denoise_s` in the denoiser, `decode_s` in
    decoding, `busy_s` in all ticks, so that busy_s - denoise_s - decode_s is what the scheduler itself, readings and adapter cost.
    `shared`: steps that a request got from a trunk that others had drawn. `reading_hits`, `reading_misses`: of the VLM's cache.
    """

    ended: Counter[Status] = field(default_factory=Counter)
    live: int = 0
    ticks: int = 0
    rows: int = 0
    calls: int = 0
    shared: int = 0
    denoise_s: float = 0.0
    decode_s: float = 0.0
    busy_s: float = 0.0
    reading_hits: int = 0
    reading_misses: int = 0
    reading_evictions: int = 0
