"""Peers against plain implementations, and their order on data where one must win."""

import numpy as np
import pytest
from icg.data.interactions import Interactions
from icg.errors import IcgError
from icg.evaluate import peers
from icg.evaluate.ranking import Scorer
from icg.evaluate.stopping import Rounds


def tastes(users: int = 40, items: int = 60) -> Interactions:
    """User n engages with 10 of the 30 items of taste n % 2, and meets one of the other taste."""
    rng = np.random.default_rng(0)
    rows = [(u, 2 * i + u % 2, t, True) for u in range(users) for t, i in enumerate(rng.permutation(items // 2)[:10])]
    rows += [(u, 2 * int(rng.integers(items // 2)) + 1 - u % 2, 99, False) for u in range(users)]
    user, item, time, positive = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions.of(user, item, time, np.full(len(rows), 2), positive, users, items)


def test_ease_is_the_closed_form() -> None:
    known = tastes()
    x = peers.matrix(known, {}).toarray().astype(np.float64)
    p = np.linalg.inv(x.T @ x + 7 * np.eye(known.items))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    scores = peers.ease(known, {"penalty": 7}, 0)(np.arange(known.users))
    assert scores == pytest.approx((x @ b).astype(np.float32), abs=1e-4)


def test_what_came_last_weighs_most() -> None:
    known = tastes()
    x = peers.matrix(known, {}).toarray()
    weights = x * peers.latest(known, {"recent": 3.0})
    for user in (0, 7):
        mine = known.item[(known.user == user) & known.positive]
        assert weights[user, mine] == pytest.approx(np.exp(-np.arange(9, -1, -1) / 3), abs=1e-6)
    p = np.linalg.inv(x.T @ x + 7 * np.eye(known.items))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    scores = peers.ease(known, {"penalty": 7, "recent": 3.0}, 0)(np.array([3, 5]))
    assert scores == pytest.approx((weights @ b)[[3, 5]].astype(np.float32), abs=1e-4)


def test_items_that_were_only_met_weigh_less() -> None:
    known = tastes()
    x = peers.matrix(known, {"others": 0.5}).toarray()
    assert set(np.unique(x)) == {0.0, 0.5, 1.0}
    assert (x == 0.5).sum() == (~known.positive).sum()
    assert (peers.matrix(known, {}).toarray() == 1).sum() == known.positive.sum()


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_every_peer_tells_tastes_apart_and_repeats_itself(peer: peers.Peer) -> None:
    known = tastes()
    users = np.arange(known.users)
    options = dict(peer.grid[0]) | ({"factors": 8} if "factors" in peer.grid[0] else {})
    scores = peer.fit(known, options, 1)(users)
    assert scores.shape == (known.users, known.items)
    own = np.array([scores[u, u % 2 :: 2].mean() for u in users])
    other = np.array([scores[u, 1 - u % 2 :: 2].mean() for u in users])
    assert (own > other).mean() > 0.9
    assert np.array_equal(scores, peer.fit(known, options, 1)(users))


@pytest.mark.parametrize("peer", [peer for peer in peers.PEERS if peer.converge], ids=lambda peer: peer.name)
def test_an_iterative_peer_is_judged_after_each_round_and_a_fit_of_as_many_is_the_same(peer: peers.Peer) -> None:
    known, scored = tastes(), list[np.ndarray]()
    users = np.arange(known.users)

    def judge(score: Scorer) -> float:
        scored.append(score(users))
        return float(min(len(scored), 2))  # no better after the second round

    options = {**peer.grid[0], "factors": 8}
    assert peer.converge is not None
    assert peer.converge(known, options, judge, Rounds(most=9, patience=3)) == [1, 2, 2, 2, 2]
    for n in (1, 2, 5):
        assert np.array_equal(peer.fit(known, {**options, "rounds": n}, 0)(users), scored[n - 1])
    assert not np.array_equal(scored[0], scored[1])


@pytest.mark.parametrize("peer", [*peers.PEERS, peers.MEMORY], ids=lambda peer: peer.name)
def test_a_user_without_a_history_gets_what_is_popular(peer: peers.Peer) -> None:
    table = tastes()
    known = table.take(table.user != 3)
    options = dict(peer.grid[0]) | ({"factors": 8} if "factors" in peer.grid[0] else {})
    assert peer.fit(known, options, 0)(np.array([3]))[0] == pytest.approx(known.popularity())


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scipy.sparse", None)
    with pytest.raises(IcgError, match=r"eyecatch\[peers\]"):
        peers.matrix(tastes(), {})
