"""The hand-cut bytes of fast_wire say exactly what wire.py's plain messages say."""

from collections.abc import Sequence

import numpy as np
import pytest
from eyecatch.api import wire
from eyecatch.api.fast_wire import AnswerWriter
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.ranking import Ranker
from eyecatch.core.recommending.recommend import Degraded, Recommendation
from eyecatch.core.score import RewardSpec, Scoring
from eyecatch.core.types import EMBEDDING_DIM, Cover
from eyecatch.v1 import covers_pb2

SCORING = Scoring(
    RewardSpec("preference", 1.0, 0.1, 0.3), (RewardSpec("relevance", 0.5), RewardSpec("aesthetic", 0.2, 0.4))
)


def pools_of(sizes: Sequence[int]) -> Pools:
    rng = np.random.default_rng(0)
    pools = Pools(None, SCORING, width=4)  # type: ignore[arg-type]  (nothing is read from the store)
    for n, size in enumerate(sizes):
        item = f"item-{n}-{'é' * 60 if n == 1 else ''}"
        covers = []
        for i in range(size):
            rewards = {"relevance": float(rng.normal())} | ({"aesthetic": 0.0} if i % 2 else {})
            vector = rng.standard_normal(EMBEDDING_DIM).astype(np.float32)
            covers.append(Cover(f"c-{n}-{i}", item, f"blob:{'x' * (i * 50)}", vector / np.linalg.norm(vector), rewards))
        pools.fill(item, covers)
    return pools


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("sizes", [(4, 3, 1), (2, 0, 4)])
def test_bytes_equal_messages(k: int, cold: bool, sizes: tuple[int, ...]) -> None:
    pools = pools_of(sizes)
    items = [*pools._slots, *(["unknown"] if 0 in sizes else [])]
    user = None if cold else np.full(EMBEDDING_DIM, 0.125, np.float32)
    write = AnswerWriter(pools)
    for seed in range(5):
        ranked = Ranker(pools, 0.5, seed).rank(pools.slots(items), user, k)
        degraded = [Degraded.PROFILE_UNAVAILABLE] if seed % 2 else []
        answer = Recommendation("d" * 28, items, ranked, not cold, degraded, (0, 200, 16_384 - seed // 2))
        plain = wire.recommendation_head(answer)
        plain.items.extend(wire.item_covers(pools, ranked, row, i) for row, i in enumerate(items))
        assert covers_pb2.RecommendCoversResponse.FromString(write(answer)) == plain
