"""The CoverIndex port (8 dimensions here)."""

import numpy as np
import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.ports import CoverIndex
from eyecatch.stores.index import FaissIndex
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.builders import unit

D = 8


def test_an_empty_index_finds_nothing(index: CoverIndex) -> None:
    assert index.search(unit(1, D), 5) == []
    assert len(index) == 0
    index.remove(["absent"])
    index.add([], np.empty((0, D), np.float32))


def test_the_nearest_come_first_with_their_dot_products(index: CoverIndex) -> None:
    index.add(["a", "b", "c"], np.stack([unit(n, D) for n in (1, 2, 3)]))
    result = index.search(unit(2, D), 10)
    assert {id for id, _ in result} == {"a", "b", "c"}
    assert result[0][0] == "b"
    assert result[0][1] == pytest.approx(1.0, abs=1e-5)
    assert [s for _, s in result] == sorted((s for _, s in result), reverse=True)
    assert index.search(unit(2, D), 0) == []


@pytest.mark.parametrize("shape", [(2, D), (1, D - 1), (D,)])
def test_rows_of_another_shape_are_refused(index: CoverIndex, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput):
        index.add(["a"], np.zeros(shape, np.float32))
    with pytest.raises(InvalidInput):
        index.search(np.zeros(3, np.float32), 1)
    assert len(index) == 0


_STEPS = st.lists(
    st.tuples(st.booleans(), st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 9)), max_size=4))
)


@settings(max_examples=50, deadline=None)
@given(steps=_STEPS)
def test_any_history_agrees_with_a_dictionary(steps: list[tuple[bool, list[tuple[str, int]]]]) -> None:
    index, model = FaissIndex(D), dict[str, int]()
    for adding, entries in steps:
        ids = [id for id, _ in entries]
        if adding:
            index.add(ids, np.array([unit(seed, D) for _, seed in entries], np.float32).reshape(-1, D))
            model |= dict(entries)
        else:
            index.remove(ids)
            model = {id: seed for id, seed in model.items() if id not in ids}
        result = dict(index.search(unit(0, D), 99))
        assert result == pytest.approx({id: float(unit(seed, D) @ unit(0, D)) for id, seed in model.items()}, abs=1e-5)
        assert len(index) == len(model)
