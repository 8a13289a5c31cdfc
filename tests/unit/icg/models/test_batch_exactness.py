"""Rows of one call equal rows alone, bit by bit, with every family's real classes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from icg import starter
from icg.draw.conditions import Conditioner
from icg.draw.pipeline import CoverPipeline
from icg.draw.rows import Rows
from icg.models.batch_exactness import Agreement, steady
from icg.products.lora import Loras
from icg.scheduler.model import Model
from torch import nn

from tests.unit.icg import tiny
from tests.unit.icg.pipelines import SIZE


def random_rows(pipeline: CoverPipeline, model: Model, size: tuple[int, int], count: int) -> Rows:
    times = pipeline.family.schedule(7, size).timesteps
    kind = Conditioner(pipeline.adapter).nothing
    torch.manual_seed(3)
    pooled = None if kind.pooled is None else torch.randn(count, *kind.pooled.shape[1:])
    x = torch.randn(count, *pipeline.family.shape(size))
    return Rows(x, times[torch.arange(count) % len(times)], torch.randn(count, *kind.embeds.shape[1:]), pooled)


def assert_batches_are_exact(pipeline: CoverPipeline, size: tuple[int, int], count: int) -> None:
    with torch.inference_mode():
        model = Model(pipeline, Conditioner(pipeline.adapter).nothing, (size,), count, Loras(pipeline.family, {}))
        rows = random_rows(pipeline, model, size, count)
        alone = [model.denoise(size, "", rows.of(slice(n, n + 1)))[0] for n in range(count)]
        for first in (0, 1, count // 2, count - 2):
            together, _ = model.denoise(size, "", rows.of(slice(first, count)))
            assert torch.equal(together, torch.cat(alone[first:]))
        images = [pipeline.family.decode(rows.x[n : n + 1]) for n in range(8)]
        ends = torch.tensor(model.splits(size, 8)).cumsum(0).tolist()
        parts = [pipeline.family.decode(part) for part in rows.x[:8].tensor_split(ends[:-1])]
        assert torch.equal(torch.cat(parts), torch.cat(images))


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_rows_are_as_alone(covers: Callable[[str], CoverPipeline], name: str) -> None:
    assert_batches_are_exact(covers(name), SIZE, 12)


def test_rows_of_the_shipped_starter_are_as_alone() -> None:
    """Real widths use other kernels."""
    assert_batches_are_exact(starter.load().pipeline, (64, 64), 12)


def test_a_batch_invariant_model_predicts_as_before(covers: Callable[[str], CoverPipeline]) -> None:
    for name in ("sana", "sdxl"):
        pipeline = covers(name)
        with torch.inference_mode():
            rows = random_rows(pipeline, Model.__new__(Model), SIZE, 3)
            before = pipeline.predict(*rows, SIZE)
            steady(pipeline.family.denoiser)
            assert torch.allclose(before, pipeline.predict(*rows, SIZE), atol=1e-5)


def test_matrix_products_do_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(256, 192)
    x = torch.randn(40, 256)
    plain = copy.deepcopy(linear)(x)
    steady(linear)
    whole = linear(x)
    assert torch.allclose(whole, plain, atol=1e-6)
    for count in range(1, 41):
        assert torch.equal(linear(x[:count]), whole[:count])


def test_pointwise_convolutions_do_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 1280, 1)
    x = torch.randn(20, 256, 8, 8).contiguous(memory_format=torch.channels_last)
    plain = copy.deepcopy(conv)(x)
    steady(conv)
    whole = conv(x)
    assert torch.allclose(whole, plain, atol=1e-5)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    for count in range(1, 21):
        assert torch.equal(conv(x[:count]), whole[:count])


@pytest.mark.parametrize("kwargs", [{"stride": 2}, {"padding": 1}, {"groups": 2}, {"kernel_size": 3}])
def test_other_convolutions_stay_as_they_are(kwargs: dict[str, int]) -> None:
    conv = nn.Conv2d(4, 4, **{"kernel_size": 1} | kwargs)
    steady(conv)
    assert "forward" not in vars(conv)


def test_calls_are_few_and_even_and_shrink_where_rows_disagree() -> None:
    sizes: list[int] = []

    def call(part: slice) -> torch.Tensor:
        sizes.append(part.stop - part.start)
        return torch.arange(20.0)[part] + (part.stop - part.start > 6) * 1e-7

    agreement = Agreement(call, 16)
    assert agreement.parts(5) == [5]
    assert agreement.parts(12) == [6, 6]
    assert agreement.parts(13) == [5, 4, 4]
    assert agreement.limit == 6
    tried = len(sizes)
    assert agreement.parts(12) == [6, 6]
    assert len(sizes) == tried
    assert Agreement(call, 16, exact=False).parts(16) == [16]
