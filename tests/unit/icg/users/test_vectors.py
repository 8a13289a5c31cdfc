"""The map from users' own vectors to user embeddings: what it finds, its controls, its refusals and its file. SIMULATED users."""

import numpy as np
import pytest
from icg.errors import CheckpointError, IcgError
from icg.users.vector_fit import LEAST_USERS, TRUST, Halves, UserSplit, choose_trust, learn, measure
from icg.users.vector_map import VectorMap

D = 64


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def crowd(users: int, width: int, seed: int = 0, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vectors (N, W), tastes (N, D), the matrix between them (W, D)): tastes in 8 dimensions, and a common direction."""
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((users, 8))
    truth = rng.standard_normal((width, 8)) @ rng.standard_normal((8, D)) / width
    vectors = few @ rng.standard_normal((8, width)) * rng.uniform(0.1, 10, width) + rng.standard_normal(width)
    tastes = vectors @ truth
    tastes = tastes / np.abs(tastes).max() / 8 + noise * rng.standard_normal(tastes.shape) / 8
    return vectors.astype(np.float32), tastes.astype(np.float32), truth


def halves(tastes: np.ndarray, noise: float = 1.0, seed: int = 1) -> Halves:
    """Of users who like the covers nearest to their tastes; three events tell as much as `noise` leaves."""
    rng = np.random.default_rng(seed)
    covers = unit(rng.standard_normal((300, D))).astype(np.float32)
    events = unit(unit(tastes) + noise * unit(rng.standard_normal(tastes.shape)))
    return Halves(events, np.full(len(tastes), 3), [covers[np.argsort(-(covers @ taste))[:6]] for taste in tastes])


@pytest.mark.parametrize("width", [1, 5, 64, 400])
def test_a_linear_map_is_found(width: int) -> None:
    vectors, tastes, _ = crowd(500, width)
    split = UserSplit.draw(500, 0)
    learned = learn(vectors, tastes, split, whole=False)
    difference = tastes - tastes[np.concatenate([split.fit, split.choose])].mean(0)
    error = np.abs(learned(vectors[split.test]) - difference[split.test]).max()
    assert error < 0.02 * np.abs(tastes).max()


def test_a_mapped_vector_beats_the_mean_user_and_exchanged_vectors_do_not() -> None:
    vectors, tastes, _ = crowd(400, 48, noise=0.05)
    split = UserSplit.draw(400, 0)
    figures = measure(vectors, tastes, split, halves(tastes[split.test]), 8, 0)
    assert (figures.users, figures.older) == (80, 3)
    assert figures.told_from_chance
    assert figures.cosine["mapped"] > figures.cosine["shuffled"] + 0.5
    assert figures.accuracy["mapped"] > 0.8
    assert figures.accuracy["both"] > figures.accuracy["events"]
    assert abs(figures.accuracy["shuffled"] - 0.5) < 0.1
    assert (figures.accuracy["cold"], figures.cosine["cold"], figures.cosine["mean_user"]) == (0.5, 0.0, 0.0)


def test_the_trust_in_a_vector_is_what_it_is_worth() -> None:
    vectors, tastes, _ = crowd(600, 48)
    tastes = tastes - tastes.mean(0)
    split = UserSplit.draw(600, 0)
    strangers = np.random.default_rng(9).standard_normal(vectors.shape).astype(np.float32)
    noisy, sure = halves(tastes[split.choose], 4.0), halves(tastes[split.choose], 0.2)
    assert choose_trust(vectors, tastes, split, noisy, 0) > TRUST, "good vectors, events that say little"
    assert choose_trust(strangers, tastes, split, sure, 0) <= TRUST, "vectors that say nothing, good events"
    alone = Halves(sure.events, sure.counts, [rows[:0] for rows in sure.liked])
    assert choose_trust(vectors, tastes, split, alone, 0) == TRUST, "nobody to choose on"


def test_vectors_that_say_nothing_have_no_gain() -> None:
    accepted = 0
    for seed in range(5):
        _, tastes, _ = crowd(300, 16, seed)
        vectors = np.random.default_rng(seed + 100).standard_normal((300, 16)).astype(np.float32)
        split = UserSplit.draw(300, seed)
        figures = measure(vectors, tastes, split, halves(tastes[split.test]), 8, seed)
        accepted += figures.told_from_chance
        assert figures.gain < 0.05
    assert accepted <= 1


def test_a_prior_is_short_where_vectors_say_little() -> None:
    vectors, tastes, _ = crowd(1000, 20)
    tastes, split = unit(tastes - tastes.mean(0)).astype(np.float32), UserSplit.draw(1000, 0)
    noisy = np.random.default_rng(5).standard_normal(vectors.shape).astype(np.float32) * vectors.std(0) * 3
    sure, unsure = (learn(v, tastes, split, whole=True)(v) for v in (vectors, vectors + noisy))
    lengths = [np.linalg.norm(rows, axis=1).mean() for rows in (sure, unsure)]
    assert lengths[0] > 0.8
    assert lengths[1] < 0.8 * lengths[0]
    assert np.linalg.norm(learn(vectors, tastes, split, whole=True)(vectors * 1e20), axis=1).max() <= 1 + 1e-6


def test_a_column_without_a_spread_says_nothing() -> None:
    vectors, tastes, _ = crowd(200, 6)
    vectors[:, 2] = 3.0
    learned = learn(vectors, tastes, UserSplit.draw(200, 0), whole=True)
    other = vectors[:3].copy()
    other[:, 2] = -1e9
    assert np.allclose(learned(other), learned(vectors[:3]), atol=1e-5)


@pytest.mark.parametrize("users", [0, 1, LEAST_USERS - 1])
def test_too_few_users_are_refused_with_their_number(users: int) -> None:
    with pytest.raises(IcgError, match=f"enough behaviour: {users}; allowed: at least {LEAST_USERS}"):
        UserSplit.draw(users, 0)


def test_the_fewest_users_and_three_covers_are_enough_for_figures() -> None:
    vectors, tastes, _ = crowd(LEAST_USERS, 4)
    split = UserSplit.draw(LEAST_USERS, 0)
    covers = unit(np.random.default_rng(0).standard_normal((3, D))).astype(np.float32)
    some = halves(tastes[split.test])

    def accuracy(liked: list[np.ndarray]) -> dict[str, float]:
        return measure(vectors, tastes, split, Halves(some.events, some.counts, liked), 8, 0).accuracy

    assert accuracy([covers] * 10) == {}, "nobody has a cover to compare with"
    assert accuracy([np.zeros((0, D), np.float32)] * 10) == {}
    assert accuracy([covers[n % 3 : n % 3 + 1] for n in range(10)])


def test_the_file_comes_back_and_nothing_else_is_read() -> None:
    vectors, tastes, _ = crowd(100, 7)
    learned = learn(vectors, tastes, UserSplit.draw(100, 0), True, encoder=65_535, trust=32)
    back = VectorMap.from_bytes(learned.to_bytes('{"users": 1}'))
    assert (back.encoder, back.users, back.strength, back.trust, back.width) == (65_535, 100, learned.strength, 32, 7)
    assert back.report == {"users": 1}
    assert np.array_equal(back(vectors), learned(vectors))
    data = learned.to_bytes()
    broken = VectorMap(learned.mean, learned.scale * 0, learned.slopes).to_bytes()
    for wrong in (b"", b"\x80\x04K\x01.", data[:-4], data[: len(data) // 2], broken):
        with pytest.raises(CheckpointError, match="eyecatch embeddings fit"):
            VectorMap.from_bytes(wrong)
