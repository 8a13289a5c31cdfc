"""Bytes of vectors and priors: what comes back, and what is left out."""

import numpy as np
from eyecatch.core.types import Prior
from eyecatch.stores import vector_codec as codec

from tests.contracts.builders import unit


def test_a_prior_comes_back_for_its_encoder_alone() -> None:
    data = codec.encode(unit(1, 1024), Prior(unit(2), 255), 65_535)
    assert len(data) == codec.HEAD_BYTES + 4 * 1024
    back = codec.prior(data[: codec.HEAD_BYTES], 65_535)
    assert back is not None
    assert (back.trust, np.allclose(back.row, unit(2), atol=1e-3)) == (255, True)
    for other in (None, b"", data[:10], b"\x09" + data[1:]):
        assert codec.prior(other, 65_535) is None
    assert codec.prior(data, 1) is None
    assert codec.prior(codec.encode(unit(1, 3), None, 7), 7) is None


def test_vectors_of_a_page_come_back_and_damaged_ones_are_left_out() -> None:
    good = codec.encode(unit(1, 5), None, 1)
    bad = np.array([np.nan] * 5, np.float32)
    page = {"cut": good[:-1], "a": good, "b": codec.encode(unit(2, 5), Prior(unit(3), 8), 1), "wide": good + b"\0" * 4}
    page |= {"newer": b"\x02" + good[1:], "nothing": b"", "nan": codec.encode(bad, None, 1)}
    rows = codec.rows(page)
    assert rows.keys == ["a", "b"]
    assert np.array_equal(rows.vectors, np.stack([unit(1, 5), unit(2, 5)]))
    assert codec.rows({}).vectors.shape == (0, 0)
