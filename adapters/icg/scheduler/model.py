"""The denoiser and the decoder as the scheduler calls them: any number of rows, in calls that fit memory and stay bit-exact.

Knows no request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from itertools import product as pairs

import torch
from torch import Tensor

from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.draw.rows import Rows
from icg.draw.sampler import Condition
from icg.errors import BriefError
from icg.models.batch_exactness import Agreement, steady
from icg.products.library import TrainedProduct
from icg.products.lora import Loras
from icg.scheduler.fast import Fast, Ladder
from icg.scheduler.memory import MORE, rows_that_fit

COVERS = 8
"""Pictures decoded in one call at most."""
Size = tuple[int, int]


class Model:
    """Serves covers of `sizes` with at most `rows` rows per call, fewer if memory is short. condition: any, for its shapes.

    Exact on a CPU: a row gives the same bits whatever shares its call. Not with `fast`, which changes the pipeline's parts for good.
    """

    def __init__(
        self,
        pipeline: CoverPipeline,
        condition: Condition,
        sizes: Sequence[Size],
        rows: int,
        loras: Loras,
        fast: Fast | None = None,
    ) -> None:
        self._pipeline, self._family, self._loras, self._fast = pipeline, pipeline.family, loras, fast
        if fast is not None:
            fast.prepare(pipeline)
        exact = pipeline.device.type == "cpu" and fast is None
        if exact:
            loras.settle()
            _settle(pipeline)
        self.rows: dict[Size, int] = {}
        """Rows per call at most, by size."""
        self._exact, self._trials = exact, dict[Size, Rows]()
        self._denoising: dict[tuple[Size, str, bool, str], Agreement] = {}
        self._decoding: dict[Size, Agreement] = {}
        self._ladders: dict[tuple[Size, str, bool, str], Ladder] = {}
        self._steps: deque[torch.cuda.Event] = deque()
        for size in sizes:
            pipeline.check_size(size)
            times = pipeline.family.schedule(Brief.steps, size).timesteps
            self._trials[size] = trial = self._random_rows(size, max(rows, COVERS, MORE), condition, times)

            def denoise(count: int, size: Size = size, trial: Rows = trial) -> Tensor:
                return self._call(size, "", None, trial.of(slice(0, count)))

            def decode(part: slice, trial: Rows = trial) -> Tensor:
                return self._family.decode(trial.x[part])

            self.rows[size] = rows_that_fit(denoise, rows, pipeline.device)
            self._decoding[size] = Agreement(decode, COVERS, exact)
            if fast is not None:
                for lora, apart in pairs(loras.names, pipeline.drawers):
                    self._ladder(size, lora, False, apart)

    def check(self, size: Size, lora: str) -> None:
        """BriefError for a size or LoRA that was not announced at construction."""
        if size not in self.rows:
            raise BriefError(f"size={size}; allowed: {', '.join(map(str, self.rows))}")
        self._loras.check(lora)

    def denoise(
        self, size: Size, lora: str, rows: Rows, product: TrainedProduct | None = None, apart: str = ""
    ) -> tuple[Tensor, int]:
        """Predictions (B, C, h, w) and the number of calls, with the low-rank weights of `lora`, or else of `product` if it has any; or by
        the one of the pipeline's `drawers` that draws `apart`, without any."""
        product = product if product is not None and product.lora else None
        sizes = self._agreement(size, lora, product, rows.hint is not None, apart).parts(len(rows.x))
        ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
        call = partial(self._call, size, lora, product, apart=apart)
        if self._fast is not None and product is None:
            call = self._ladder(size, lora, rows.hint is not None, apart)
        parts = [call(rows.of(slice(end - n, end))) for n, end in zip(sizes, ends, strict=True)]
        if rows.x.device.type == "cuda":
            self._hold()
        return torch.cat(parts), len(parts)

    def _hold(self) -> None:
        """Keep the host at most one step ahead of the device: a cancelled request must not pay for more."""
        self._steps.append(torch.cuda.Event())
        self._steps[-1].record()
        if len(self._steps) > 1:
            self._steps.popleft().synchronize()

    def splits(self, size: Size, covers: int) -> list[int]:
        """Sizes of the calls that decode so many covers."""
        return self._decoding[size].parts(covers)

    def _agreement(self, size: Size, lora: str, product: TrainedProduct | None, hinted: bool, apart: str) -> Agreement:
        """Kernels depend on shapes alone: products whose weights have equal shapes share an Agreement."""
        key = (size, lora if product is None else f"product {product.form}", hinted, apart)
        if key not in self._denoising:
            blank, trial = product and product.blank, self._trials[size]
            trial = trial if hinted else trial._replace(hint=None)
            self._denoising[key] = Agreement(
                lambda part: self._call(size, lora, blank, trial.of(part), apart), self.rows[size], self._exact
            )
        return self._denoising[key]

    def _ladder(self, size: Size, lora: str, hinted: bool, apart: str) -> Ladder:
        """Recorded at first use: at construction, but for inpainting."""
        key = size, lora, hinted, apart
        if key not in self._ladders and self._fast is not None:
            self._loras.use(lora)
            trial, most, graphs = self._trials[size], self.rows[size], self._fast.graphs
            trial = trial if hinted else trial._replace(hint=None)
            self._ladders[key] = Ladder(
                partial(self._call, size, lora, None, apart=apart),
                lambda count: trial.of(slice(0, count)),
                [*(rung for rung in self._fast.rungs if rung < most), most],
                graphs and trial.x.device.type == "cuda",
            )
        return self._ladders[key]

    def _call(self, size: Size, lora: str, product: TrainedProduct | None, rows: Rows, apart: str = "") -> Tensor:
        if apart:
            return self._pipeline.drawers[apart].predict(*rows, size)
        if product is None:
            self._loras.use(lora)
            return self._pipeline.predict(*rows, size)
        self._loras.wear(product)
        compiled = self._fast is not None and self._fast.compiled
        # Compiling for each new product would hold up all requests.
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            return self._pipeline.predict(*rows, size)

    def _random_rows(self, size: Size, count: int, condition: Condition, times: Tensor) -> Rows:
        """Random rows of the right shapes."""
        random = torch.Generator("cpu").manual_seed(0)

        def like(shape: Sequence[int]) -> Tensor:
            return torch.randn((count, *shape), generator=random).to(condition.embeds)

        t = times[torch.arange(count) % len(times)].to(condition.embeds.device)
        pooled = None if condition.pooled is None else like(condition.pooled.shape[1:])
        hint = None
        if self._pipeline.inpainter is not None:
            placed = torch.rand((1, 4, size[1], size[0]), generator=random).to(condition.embeds)
            one = self._pipeline.inpainter.hint(
                placed
            )  # one for all rows: its content does not matter, and encoding takes long
            hint = one.expand(count, *one.shape[1:])
        x = like(self._family.shape(size))
        guidance = x.new_full((count,), Brief.guidance) if self._family.takes_guidance else None
        return Rows(x, t, like(condition.embeds.shape[1:]), pooled, hint, guidance)


def _settle(pipeline: CoverPipeline) -> None:
    """Make rows independent of their batch: see `icg.models.batch_exactness.steady`."""
    steps = [drawer.family.denoiser for drawer in pipeline.drawers.values()]
    nets = [] if pipeline.inpainter is None else [pipeline.inpainter.net]
    decoding = [p for name, p in pipeline.family.vae.named_children() if name not in ("encoder", "quant_conv")]
    for part in (*steps, *nets, *decoding):
        steady(part)
