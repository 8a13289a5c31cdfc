"""Jobs on a Ray cluster of two workers: the figures of one process, workers that die, and a cluster that ends with its job."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.evaluate.recall import recall
from eyecatch.evaluate.settings import RecallSettings
from eyecatch.shards import OnRay, Shard, ShardResults, key_of, run

from tests.unit.evaluate.test_recall import world

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[OnRay]:
    with OnRay("local", cpus=2) as runner:
        yield runner


def refusing_seven(n: int) -> bytes:
    if n == 7:
        raise InvalidInput.of("n", n, "anything but 7")
    return str(n).encode()


def test_an_error_of_a_shard_ends_the_job_as_it_is(cluster: OnRay, tmp_path: Path) -> None:
    results = ShardResults(tmp_path)
    with pytest.raises(InvalidInput, match="anything but 7"):
        run(refusing_seven, [Shard(key_of(str(n)), n) for n in range(8)], results, cluster)


async def test_recall_on_ray_has_the_figures_of_one_process(cluster: OnRay, tmp_path: Path) -> None:
    store = await world(tmp_path / "data", loyal=True)
    settings = RecallSettings(ks=(20,), peers=True, trials=2, seeds=1, steps=4)
    results = [
        (await recall(store.catalog, store.profiles, settings, **options)).result.as_dict()
        for options in ({}, {"runner": cluster})
    ]
    for result in results:
        for row in result["rankings"].values():
            row.pop("seconds")
    assert results[0] == results[1]
    store.close()
