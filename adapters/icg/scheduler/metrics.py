"""Plain counters of a step scheduler, to be exported. All but `live` only grow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from icg.scheduler.request import Status


@dataclass
class SchedulerMetrics:
    """ended: requests by final status. live: requests waiting and running now. ticks: denoising steps of the batch.

    rows: rows given to the denoiser, in `calls` calls. Seconds: denoise_s in the denoiser, decode_s in decoding, busy_s in all ticks;
    busy_s - denoise_s - decode_s is what scheduler, VLM and adapter cost. shared: steps that requests took over from trunks.
    reading_hits, reading_misses, reading_evictions: of the cache of VLM readings.
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
