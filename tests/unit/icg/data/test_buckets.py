"""Aspect-ratio buckets and their epochs, as properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from icg.brief import Brief
from icg.data.buckets import Buckets, Epochs, crop
from icg.errors import IcgError
from PIL import Image

buckets = st.builds(Buckets, st.integers(96**2, 1024**2), st.sampled_from([8, 16, 32, 64]), st.floats(1, 4))


@given(buckets)
def test_sizes_can_be_drawn_and_are_of_about_one_area(buckets: Buckets) -> None:
    square = [size for size in buckets.sizes if size[0] == size[1]]
    assert len(square) == 1
    for width, height in buckets.sizes:
        assert width % buckets.multiple == height % buckets.multiple == 0
        assert (height, width) in buckets.sizes
        assert Brief("a", size=(width, height)).size == (width, height)
        if width != height:
            assert abs(width * height / buckets.pixels - 1) <= buckets.spread
            assert max(width, height) <= buckets.ratio * min(width, height)


@given(buckets, st.integers(16, 3000), st.integers(16, 3000))
def test_the_nearest_ratio_is_taken(buckets: Buckets, width: int, height: int) -> None:
    def away(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] * height / (size[1] * width)))

    assert away(buckets.nearest(width, height)) <= min(map(away, buckets.sizes)) + 1e-9


def test_full_size_covers_have_several_shapes() -> None:
    sizes = Buckets(512 * 512, 16).sizes
    assert {(512, 512), (416, 624), (624, 416)} <= set(sizes)
    with pytest.raises(IcgError, match="pixels=100"):
        Buckets(100)
    with pytest.raises(IcgError, match="multiple=0"):
        Buckets(512 * 512, 0)


@given(st.integers(16, 200), st.integers(16, 200))
def test_a_crop_keeps_the_middle(width: int, height: int) -> None:
    x = np.linspace(0, 255, width).round().astype(np.uint8)
    picture = Image.fromarray(np.repeat(x[None], height, 0))
    cut = crop(picture, (64, 48))
    assert cut.size == (64, 48)
    assert abs(float(np.asarray(cut, float).mean()) - 127.5) < 3


many = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(many, st.integers(1, 9), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_draws_everything_once_in_batches_of_one_bucket(
    bucket: np.ndarray, batch: int, seed: int, epoch: int
) -> None:
    epochs = Epochs(bucket, batch, seed)
    rows = [epochs.rows(epoch * epochs.length + n) for n in range(epochs.length)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(bucket)))
    assert all(len(r) <= batch and len(set(bucket[r])) == 1 for r in rows)
    assert sum(len(r) < batch for r in rows) <= len(set(bucket.tolist()))


@given(many, st.integers(0, 200))
def test_a_batch_depends_on_seed_and_number_alone(bucket: np.ndarray, number: int) -> None:
    straight = Epochs(bucket, 4, 1)
    for n in range(number):
        straight.rows(n)
    assert Epochs(bucket, 4, 1).rows(number).tolist() == straight.rows(number).tolist()


def test_epochs_differ() -> None:
    epochs = Epochs(np.zeros(50, int), 50, 0)
    assert epochs.rows(0).tolist() != epochs.rows(1).tolist()
    assert Epochs(np.zeros(50, int), 50, 1).rows(0).tolist() != epochs.rows(0).tolist()
    with pytest.raises(IcgError, match="examples=0"):
        Epochs(np.zeros(0, int), 4, 0)
