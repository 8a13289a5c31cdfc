"""What reaches the decision log: also when the store is away, and when a pool changes right after the answer."""

import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.core.recommending.decisions import DecisionBuffer, from_line
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.ranking import Ranker
from eyecatch.core.types import Cover, Decision

from tests.unit.core.recommending.test_ranking import SCORING, axis


class Log:
    """A decision log that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.lines: list[str] = []

    async def append(self, lines: list[str]) -> None:
        if self.away:
            raise Unavailable("away")
        self.lines += lines

    @property
    def decisions(self) -> list[Decision]:
        return [from_line(line) for line in self.lines]


@pytest.fixture
def pools() -> Pools:
    pools = Pools(None, SCORING, 4, max_items=255)  # type: ignore[arg-type]
    pools.fill("a", [Cover("a1", "a", "", axis(1)), Cover("a2", "a", "", axis(2))])
    pools.fill("empty", [])
    return pools


async def test_decisions_wait_for_the_log_and_are_bounded(pools: Pools) -> None:
    log = Log()
    buffer = DecisionBuffer(log, pools, capacity=3, batch=2)  # type: ignore[arg-type]
    log.away = True
    ranked = Ranker(pools, 0.0).rank([0], None, 1)
    assert [buffer.add(str(n), "u", 0.0, ranked) for n in range(4)] == [True, True, True, False]
    await buffer.flush()
    assert buffer.failing
    log.away = False
    await buffer.close()
    assert [d.id for d in log.decisions] == ["0", "1", "2"], "nothing accepted is lost"
    assert buffer.add("3", "u", 0.0, ranked)


@pytest.mark.parametrize("k", [1, 3])
async def test_a_decision_tells_the_first_cover_of_each_item_that_has_one(pools: Pools, k: int) -> None:
    log = Log()
    buffer = DecisionBuffer(log, pools)  # type: ignore[arg-type]
    buffer.add("d", "mia", 1.5, Ranker(pools, 0.0).rank(pools.slots(["empty", "a", "unknown"]), axis(2), k))
    await buffer.close()
    assert log.decisions == [Decision("d", "mia", 1.5, ("a",), ("a2",), (1.0,))]


async def test_a_cover_that_takes_the_place_of_a_shown_one_does_not_take_its_decision(pools: Pools) -> None:
    log = Log()
    buffer = DecisionBuffer(log, pools)  # type: ignore[arg-type]
    ranker = Ranker(pools, 0.0)
    buffer.add("before", "mia", 1.0, ranker.rank(pools.slots(["a"]), axis(2), 1))
    pools.fill("a", [Cover("new1", "a", "", axis(1)), Cover("new2", "a", "", axis(2))])
    buffer.add("after", "mia", 2.0, ranker.rank(pools.slots(["a"]), axis(2), 1))
    for n in range(len(pools.counts)):  # memory is full: they take the slots of older items
        pools.fill(f"b{n}", [Cover(f"b{n}1", f"b{n}", "", axis(1))])
    assert pools.slots(["a"]) == [0]
    await buffer.close()
    assert [(d.id, d.item_ids, d.cover_ids) for d in log.decisions] == [
        ("before", ("a",), ("a2",)),
        ("after", ("a",), ("new2",)),
    ]


async def test_many_decisions_are_logged_in_order(pools: Pools) -> None:
    log = Log()
    buffer = DecisionBuffer(log, pools)  # type: ignore[arg-type]
    ranked = Ranker(pools, 0.0).rank(pools.slots(["a"]), axis(1), 1)
    for n in range(200):
        assert buffer.add(str(n), "mia", float(n), ranked)
    await buffer.close()
    assert [d.id for d in log.decisions] == [str(n) for n in range(200)]
