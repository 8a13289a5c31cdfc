"""Shards in this process: each key once, what is there is not done again, and what a killed writer left counts for nothing."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import InvalidInput, NotFound, Overloaded
from eyecatch.shards import OnRay, Shard, ShardResults, here, key_of, packed, run, unpacked


def square(n: int) -> bytes:
    return str(n * n).encode()


def shards(count: int) -> list[Shard]:
    return [Shard(key_of("square", str(n)), n) for n in range(count)]


class Stop(Exception):
    pass


def stopping_after(count: int) -> Callable[..., Iterator[tuple[str, bytes]]]:
    """A runner that dies when `count` shards have run."""

    def runner(work: Callable[[object], bytes], shards: Iterable[Shard]) -> Iterator[tuple[str, bytes]]:
        for n, shard in enumerate(shards):
            if n == count:
                raise Stop
            yield shard.key, work(shard.payload)

    return runner


@pytest.mark.parametrize("count", range(6))
def test_a_job_stopped_anywhere_does_only_what_is_missing(tmp_path: Path, count: int) -> None:
    results, calls = ShardResults(tmp_path), list[int]()

    def work(n: int) -> bytes:
        calls.append(n)
        return square(n)

    with pytest.raises(Stop):
        run(work, shards(6), results, stopping_after(count))
    run(work, shards(6), results)
    assert sorted(calls) == list(range(6))
    assert [results.read(shard.key) for shard in shards(6)] == [square(n) for n in range(6)]


def test_a_key_that_comes_twice_runs_once(tmp_path: Path) -> None:
    counts: list[int] = []
    run(square, [*shards(3), *shards(3)], ShardResults(tmp_path), here, counts.append)
    assert counts == [1, 2, 3]


def test_a_file_that_was_being_written_is_no_result(tmp_path: Path) -> None:
    results, (one,) = ShardResults(tmp_path), shards(1)
    results.write(one.key, b"whole")
    path = next(path for path in tmp_path.rglob("*") if path.is_file())
    path.rename(path.with_suffix(".1.tmp"))
    assert one.key not in results


def test_keys_differ_by_where_their_parts_end() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("ab", b"c") == key_of(b"ab", "c")


def test_arrays_survive_and_objects_are_refused() -> None:
    arrays = {"a": np.arange(3, dtype=np.int32), "b": np.zeros((2, 0), np.float32)}
    back = unpacked(packed(arrays))
    assert all(np.array_equal(back[name], arrays[name]) and back[name].dtype == arrays[name].dtype for name in arrays)
    with pytest.raises(ValueError, match="allow_pickle"):
        unpacked(packed({"bad": np.array([{}], dtype=object)}))


@pytest.mark.parametrize("error", [InvalidInput.of("n", 1, "2"), NotFound("item", "x"), Overloaded("full", 3.0)])
def test_errors_survive_the_way_from_a_worker(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__dict__) == (type(error), str(error), error.__dict__)


def test_an_address_is_needed() -> None:
    with pytest.raises(InvalidInput, match="ray://host:port"):
        OnRay("")
