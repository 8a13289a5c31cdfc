"""The sequence encoder: what it may see, and that it learns orders and content."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from icg.data.interactions import Interactions, leave_last
from icg.errors import IcgError
from icg.evaluate.ranking import Scorer, figures, ranks_of
from icg.evaluate.stopping import Rounds
from icg.train.loop import Fit
from icg.train.users import events
from icg.train.users.rankers import SequenceRankers
from icg.train.users.sequence import Histories, Recipe, Setup, begin, loss_of, run, scorer
from icg.users.sequence import Content, SequenceConfig, SequenceEncoder

ITEMS = 24


def ring(users: int = 60, length: int = 12) -> Interactions:
    """User n begins somewhere and goes on to the next item each time."""
    rng = np.random.default_rng(0)
    begin = rng.integers(0, ITEMS, users)
    rows = [(u, (begin[u] + n) % ITEMS, n, 3) for u in range(users) for n in range(length)]
    user, item, time, action = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions.of(user, item, time, action, np.ones(len(rows), bool), users, ITEMS)


def content(kinds: int = 2) -> Content:
    return Content.of([f"kind{n % kinds} no{n}" for n in range(ITEMS)], np.zeros((ITEMS, 4), np.float32))


CONFIG = SequenceConfig(ITEMS, 4, width=16, layers=1, window=8, dropout=0.0)


def test_a_state_depends_on_earlier_events_only() -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(CONFIG, content()).eval()
    histories = Histories(ring(), 8)
    window, _ = histories.read(np.array([0]), np.array([8]))
    before = encoder(window, encoder.items())
    window.item[0, 5] = (window.item[0, 5] + 7) % ITEMS
    after = encoder(window, encoder.items())
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_what_is_to_be_predicted_comes_after_and_is_the_users_own() -> None:
    table = ring(users=3)
    histories = Histories(table, 8)
    users, ends = np.array([0, 2]), histories.start[np.array([0, 2]) + 1]
    _, first = histories.read(users, ends)
    target = histories.next(users, first, 8, 1, np.random.default_rng(0))
    assert target[:, -1].tolist() == [-1, -1]
    for row, start in zip(target, first, strict=True):
        assert row[:-1].tolist() == table.item[start : start + 8].tolist()
    far = histories.next(users, first, 8, 3, np.random.default_rng(0))
    steps = (far[:, :-3] - target[:, :-3]) % ITEMS
    assert set(np.unique(steps)) <= {0, 1, 2}
    assert steps.max() > 0


@pytest.mark.parametrize("recipe", [Recipe("softmax", 8), Recipe("softmax", 0), Recipe("bce", 4)])
def test_every_loss_falls_to_the_encoder(recipe: Recipe) -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(CONFIG, content())
    loss = loss_of(encoder, Histories(ring(), 8), recipe, 4, np.random.default_rng(0))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert encoder.free.weight.grad is not None
    assert encoder.words.weight.grad is not None


@pytest.mark.long
def test_an_order_is_learned_and_a_run_resumes(tmp_path: Path) -> None:
    split = leave_last(ring(), 1, 5)
    fit, setup = (
        Fit(steps=150, lr=1e-2, batch=32, warmup=10, save_every=50),
        Setup(CONFIG, Recipe(horizon=1, negatives=0)),
    )
    encoder = run(tmp_path / "whole", split.known, content(), fit, setup)
    recalls = figures(split, ranks_of(split, scorer(encoder, split.known), 5), (1,))["recall@1"]
    assert recalls.mean() > 0.9
    run(tmp_path / "parts", split.known, content(), fit, setup, until=60)
    again = run(tmp_path / "parts", split.known, content(), fit, setup)
    assert torch.equal(again.free.weight, encoder.free.weight)


def test_a_training_begins_with_what_is_liked_together() -> None:
    """Two groups of users like two groups of items: before any step, an item is nearer to its own group."""
    rng = np.random.default_rng(0)
    rows = [(u, 2 * int(i) + u % 2, n, 3) for u in range(40) for n, i in enumerate(rng.permutation(10)[:6])]
    user, item, time, action = (np.array(column) for column in zip(*rows, strict=True))
    known = Interactions.of(user, item, time, action, np.ones(len(rows), bool), 40, ITEMS)
    torch.manual_seed(0)
    encoder = SequenceEncoder(CONFIG, content())
    begin(encoder, known, 8.0)
    assert encoder.warm.tolist() == [1.0] * 20 + [0.0] * 4
    assert encoder.bias.detach().numpy() == pytest.approx(np.log1p(known.popularity()))
    free = encoder.free.weight.detach()
    assert float(free[:20].square().mean().sqrt()) == pytest.approx(8.0 / 16)
    near = torch.nn.functional.normalize(free[:20], dim=1)
    cosines = near @ near.T
    assert cosines[::2, ::2].mean() > cosines[::2, 1::2].mean() + 0.2
    begin(encoder, Interactions.of(*(np.zeros(0) for _ in range(5)), users=2, items=ITEMS), 8.0)
    assert torch.equal(encoder.free.weight, free), "nobody likes anything: what was there stays"


def test_an_item_that_nobody_met_is_ranked_by_its_content(tmp_path: Path) -> None:
    """Users like one of two kinds; the last items of both kinds have no interaction."""
    rng = np.random.default_rng(1)
    rows = [(u, 2 * i + u % 2, n, 3) for u in range(60) for n, i in enumerate(rng.permutation(10)[:6])]
    user, item, time, action = (np.array(column) for column in zip(*rows, strict=True))
    known = Interactions.of(user, item, time, action, np.ones(len(rows), bool), 60, ITEMS)
    fit = Fit(steps=120, lr=1e-2, batch=32, warmup=10, save_every=200)
    encoder = run(tmp_path, known, content(), fit, Setup(CONFIG, Recipe(negatives=0, forget=0.5)))
    assert encoder.warm.tolist() == [1.0] * 20 + [0.0] * 4
    scores = scorer(encoder, known)(np.arange(60))
    own = np.array([scores[u, 20 + u % 2] - scores[u, 21 - u % 2] for u in range(60)])
    assert (own > 0).mean() > 0.9


def test_a_user_without_events_has_scores_and_a_folder_gives_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(CONFIG, content()).eval()
    empty = Interactions.of(*(np.zeros(0) for _ in range(5)), users=2, items=ITEMS)
    scores = scorer(encoder, empty)(np.array([0, 1]))
    assert np.isfinite(scores).all()
    encoder.save_pretrained(tmp_path)
    again = SequenceEncoder.from_pretrained(tmp_path, content()).eval()
    assert scorer(again, empty)(np.array([0, 1])) == pytest.approx(scores, abs=1e-2)


def test_the_preference_of_covers_is_in_cover_space() -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(CONFIG, content()).eval()
    torch.nn.init.normal_(encoder.looks.weight)
    histories = Histories(ring(), 8)
    window, _ = histories.read(np.arange(5), histories.start[1:6])
    vectors = encoder.preference(window)
    assert vectors.shape == (5, 4)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_options_reach_the_model_and_its_training(tmp_path: Path) -> None:
    rankers = SequenceRankers(tmp_path, content(), steps=100)
    setup, fit = (
        rankers.setup(ITEMS, {"width": 32, "dropout": 0.4, "horizon": 2}, True),
        rankers.fit({"rate": 0.5}, 3),
    )
    assert (setup.model.width, setup.model.dropout, setup.recipe.horizon) == (32, 0.4, 2)
    assert (fit.lr, fit.seed, rankers.round) == (0.5, 3, 5)
    plain = rankers.setup(ITEMS, {}, False)
    assert (plain.model.content, plain.recipe.horizon, plain.recipe.forget) == (False, 1, 0.0)


def test_a_tuning_that_is_killed_goes_on_to_the_same_values(tmp_path: Path) -> None:
    known, rounds = ring(), Rounds(most=4, patience=4)
    split = leave_last(known, 1, 5)

    def judge(score: Scorer) -> float:
        return float(figures(split, ranks_of(split, score, 5), (5,))["ndcg@5"].mean())

    class Killed(Exception):
        pass

    whole = SequenceRankers(tmp_path / "whole", content(), steps=40, rounds=4).converged(known, {}, judge, rounds)
    assert len(whole) == 4
    assert len(set(whole)) > 1
    for count in range(4):
        left = iter(range(count))

        def stop(score: Scorer, left: Iterator[int] = left) -> float:
            if next(left, None) is None:
                raise Killed  # after a round's training, before its value is known
            return judge(score)

        rankers = SequenceRankers(tmp_path / str(count), content(), steps=40, rounds=4)
        with pytest.raises(Killed):
            rankers.converged(known, {}, stop, rounds)
        assert rankers.converged(known, {}, judge, rounds) == whole


def test_a_fit_of_some_rounds_is_the_tuning_at_that_round(tmp_path: Path) -> None:
    known, scored = ring(), list[np.ndarray]()
    rankers = SequenceRankers(tmp_path, content(), steps=12, rounds=4)

    def judge(score: Scorer) -> float:
        scored.append(score(np.arange(5)))
        return -float(len(scored))  # the first is the best

    assert rankers.converged(known, {}, judge, Rounds(most=4, patience=2)) == [-1, -2, -3]
    for n, scores in enumerate(scored, 1):
        encoder = rankers.trained(known, {"rounds": n}, 0)
        assert np.array_equal(scorer(encoder, known)(np.arange(5)), scores)


def test_the_recipe_on_a_table_of_events_says_how_good_it_is(tmp_path: Path) -> None:
    table = ring(users=30)
    rows = [f"u{u},i{i},click,{1_700_000_000 + t}" for u, i, t in zip(table.user, table.item, table.time, strict=True)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,action,time", *rows]))
    result = events.run(tmp_path / "out", tmp_path / "events.csv", None, steps=3, seeds=2)
    assert (result["users"], result["items"], result["hidden"]) == (30, ITEMS, 150)
    assert (tmp_path / "out" / "sequence" / "evaluation.json").is_file()
    assert events.run(tmp_path / "out", tmp_path / "events.csv", None, steps=3, seeds=2) == result
    (tmp_path / "few.csv").write_text("user_id,item_id,action,time\nu,a,click,1700000000\n")
    with pytest.raises(IcgError, match="0 users with 10 engagements"):
        events.run(tmp_path / "out", tmp_path / "few.csv", None, steps=3, seeds=1)
