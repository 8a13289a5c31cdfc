"""The recall job with peers: budgets are equal and reported, and a job that is killed ends with the same figures."""

import json
import re
from pathlib import Path

import pytest
from eyecatch.evaluate.recall import recall
from eyecatch.evaluate.report import page
from eyecatch.evaluate.results import Recall
from eyecatch.evaluate.settings import RecallSettings
from eyecatch.stores.blobs import FsspecBlobs

from tests.unit.evaluate.test_recall import Stop, at, run, stopping_after, world


@pytest.mark.long
async def test_peers_and_the_encoder_are_tuned_alike_and_resume(tmp_path: Path) -> None:
    store = await world(tmp_path / "data", loyal=True)
    settings = RecallSettings(ks=(20,), peers=True, trials=2, seeds=1, steps=3)
    outcome = await run(store, settings, out=tmp_path / "run")
    result = outcome.result
    learned = ("item-kNN", "EASE", "iALS", "BPR", "SASRec", "encoder", "memory", "encoder + memory")
    assert [len(result.rankings[name].tried) for name in learned] == [2] * len(learned)
    for name in learned:
        row = result.rankings[name]
        assert row.options == max(row.tried, key=lambda one: one.value).options
        iterative = name in ("iALS", "BPR", "SASRec", "encoder")
        assert [0 < one.rounds <= settings.rounds.most for one in row.tried] == [iterative] * 2
        assert ("rounds" in row.options) is iterative
    assert max(one.rounds for one in result.rankings["SASRec"].tried) <= settings.steps
    assert result.budget == {
        "configurations": 2,
        "most rounds": 20,
        "rounds without improvement": 4,
        "most steps of SASRec and encoder": 3,
        "seeds": 1,
    }
    assert "<p>The budget of each: configurations 2, most rounds 20" in await page(outcome, FsspecBlobs(str(tmp_path)))
    assert at(result, "EASE")[0] > at(result, "popularity")[0]
    summary = result.summary()
    assert list(summary) == [
        "recall20",
        "ndcg20",
        "recall20_best_peer",
        "ndcg20_best_peer",
        "best_peer",
        "recall20_shuffled",
        "cold_items_over_random",
    ]
    assert summary["recall20_best_peer"] == max(
        round(at(result, name)[0], 4) for name in ("popularity", "item-kNN", "EASE", "iALS", "BPR", "SASRec")
    )
    again, kills = None, 0
    while again is None:
        try:
            parts = store.catalog, store.profiles, settings
            again = await recall(*parts, out=tmp_path / "killed", runner=stopping_after(9))
        except Stop:
            kills += 1
    assert kills >= 3
    assert without_seconds(again.result) == without_seconds(result)
    store.close()


def without_seconds(result: Recall) -> str:
    """As text, but for how long trials took."""
    return re.sub(r'"seconds": [^,}]+', "", json.dumps(result.as_dict()))
