"""The fastest denoiser on a GPU: bf16, compiled, and calls of a few sizes recorded as CUDA graphs. Knows no request.

A step of a small model launches a thousand kernels; a graph (CUDA programming guide, "CUDA Graphs") is one launch. A graph keeps the
shapes, weights and addresses it was recorded with. So rows are copied into its inputs and padded to the next size of the ladder, and
products, whose weights are loaded later, are called without a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from icg.draw.pipeline import CoverPipeline
from icg.draw.rows import Rows
from icg.errors import IcgError

RUNGS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Sizes of recorded calls: padding adds at most half of the rows."""
WARM = 3
"""Calls before recording, in which kernels are chosen and compiled and workspaces allocated."""


@dataclass(frozen=True)
class Fast:
    """Changes to denoiser, autoencoder and ControlNet. Covers are no longer bit-equal to those of the plain model.

    fused: one matrix product for queries, keys and values, if the denoiser can and no LoRA is announced. rungs: sizes of calls.
    """

    dtype: torch.dtype = torch.bfloat16
    channels_last: bool = True
    fused: bool = False
    compiled: bool = True
    graphs: bool = True
    rungs: Sequence[int] = RUNGS

    def __post_init__(self) -> None:
        if not self.rungs or list(self.rungs) != sorted(set(self.rungs)) or self.rungs[0] < 1:
            raise IcgError(f"rungs={tuple(self.rungs)}; allowed: numbers of rows from 1, rising")

    @classmethod
    def named(cls, name: str) -> Fast | None:
        """One of NAMED, None for "plain"; IcgError for another name."""
        if name not in NAMED:
            raise IcgError(f"fast={name!r}; allowed: {', '.join(NAMED)}")
        return NAMED[name]

    def prepare(self, pipeline: CoverPipeline) -> None:
        """Change the pipeline's parts for good."""
        pipeline.to(pipeline.device, self.dtype)
        denoisers = [drawer.family.denoiser for drawer in pipeline.drawers.values()]
        if self.channels_last:
            for part in (*denoisers, pipeline.family.vae):
                torch.nn.Module.to(part, memory_format=torch.channels_last)
        for denoiser in denoisers:
            if self.fused and hasattr(denoiser, "fuse_qkv_projections") and not getattr(denoiser, "peft_config", {}):
                denoiser.fuse_qkv_projections()
        if self.compiled:
            # Each rung is a shape of its own, and beyond the limit torch goes on uncompiled.
            config = torch._dynamo.config
            config.recompile_limit = max(config.recompile_limit, 8 * len(self.rungs))
            for denoiser in denoisers:
                denoiser.compile(dynamic=False)


NAMED: dict[str, Fast | None] = {
    "plain": None,
    "half": Fast(compiled=False, graphs=False),
    "graphs": Fast(compiled=False),
    "compiled": Fast(),
}
"""Presets that a service may name."""


class Ladder:
    """Calls `call` on up to as many rows as the last rung has. Padding rows are discarded.

    record: on a GPU, each rung as a graph, now; `like(n)` gives n rows of the right shapes for it.
    """

    def __init__(
        self, call: Callable[[Rows], Tensor], like: Callable[[int], Rows], rungs: Sequence[int], record: bool
    ) -> None:
        self._call, self.rungs = call, tuple(rungs)
        pool = torch.cuda.graph_pool_handle() if record else None
        # The largest first: the others reuse its memory.
        self._recorded = {n: _Recorded(call, like(n), pool) for n in reversed(self.rungs)} if record else {}

    def __call__(self, rows: Rows) -> Tensor:
        """(B, C, h, w). Raises IcgError for more rows than the last rung has."""
        count = len(rows.x)
        rung = next((n for n in self.rungs if n >= count), None)
        if rung is None:
            raise IcgError(f"rows={count}; allowed: at most {self.rungs[-1]}")
        if rung in self._recorded:
            return self._recorded[rung](rows)[:count]
        padded = [*range(count), *[count - 1] * (rung - count)]
        return self._call(Rows(*(None if value is None else value[padded] for value in rows)))[:count]  # type: ignore[arg-type]


class _Recorded:
    """One call of fixed rows as a graph."""

    def __init__(self, call: Callable[[Rows], Tensor], rows: Rows, pool: object) -> None:
        self._inputs = Rows(*(None if value is None else value.clone() for value in rows))  # type: ignore[arg-type]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                call(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._output = call(self._inputs)

    def __call__(self, rows: Rows) -> Tensor:
        for buffer, value in zip(self._inputs, rows, strict=True):
            if buffer is not None and value is not None:
                buffer[: len(value)].copy_(value, non_blocking=True)
        self._graph.replay()
        return self._output.clone()  # the next replay of any rung overwrites it
