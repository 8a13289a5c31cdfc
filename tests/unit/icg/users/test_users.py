"""The user encoder, its training from behaviour, and cold start."""

from pathlib import Path

import numpy as np
import pytest
import torch
from icg.data.behaviour import CLICK, DISLIKE, DWELL, IMPRESSION, LIKE, Log, population, simulate
from icg.data.tastes import SIZES
from icg.errors import CheckpointError, IcgError
from icg.evaluate import preference
from icg.train.loop import Fit
from icg.train.users import encoder as users
from icg.users.cold_start import TasteMixture
from icg.users.encoder import WINDOW, Events, UserEncoder


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    rows = rng.standard_normal((*shape, 64)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_events(users: int, length: int, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    dwell, time = rng.integers(0, 60_000, (users, length)), np.cumsum(rng.exponential(5_000, (users, length)), 1)
    return Events.of(unit(rng, users, length), rng.integers(1, 7, (users, length)), dwell, time, np.full(users, length))


def part(events: Events, first: int, last: int) -> Events:
    columns = (column[:, first:last] for column in (events.covers, events.action, events.dwell, events.gap))
    return Events(*columns, torch.full((len(events.length),), last - first))


@pytest.fixture(scope="module")
def encoder() -> UserEncoder:
    torch.manual_seed(0)
    encoder = UserEncoder()
    torch.nn.init.normal_(encoder.out[1].weight, std=0.1)
    return encoder.eval()


def test_embeddings_are_unit_and_depend_on_earlier_events_alone(encoder: UserEncoder) -> None:
    events = random_events(3, 10)
    after = encoder(events)
    assert after.shape == (3, 11, 64)
    torch.testing.assert_close(after.norm(dim=-1), torch.ones(3, 11))
    torch.testing.assert_close(encoder(part(events, 0, 6)), after[:, :7])
    events.covers[:, 6] *= -1
    assert not torch.allclose(encoder(events)[:, 7:], after[:, 7:], atol=1e-3)
    torch.testing.assert_close(encoder(events)[:, :7], after[:, :7])


def test_what_leaves_the_window_is_carried(encoder: UserEncoder) -> None:
    events = random_events(2, 50)
    at_once = encoder.carry(part(events, 0, 18))
    step_by_step = None
    for n in range(18):
        step_by_step = encoder.carry(part(events, n, n + 1), step_by_step)
    torch.testing.assert_close(step_by_step, at_once)
    whole, latest = encoder._sums(events, None)[:, -1], encoder._sums(part(events, 18, 50), at_once)[:, -1]
    torch.testing.assert_close(latest, whole)
    assert not torch.equal(encoder.encode(part(events, 18, 50), at_once), encoder.encode(part(events, 18, 50)))


def test_padding_changes_nothing(encoder: UserEncoder) -> None:
    events = random_events(2, 8)
    longer = random_events(2, 12, seed=1)
    for name in ("covers", "action", "dwell", "gap"):
        getattr(longer, name)[:, :8] = getattr(events, name)
    padded = Events(longer.covers, longer.action, longer.dwell, longer.gap, torch.tensor([8, 8]))
    torch.testing.assert_close(encoder.encode(padded), encoder.encode(events))
    torch.testing.assert_close(encoder.carry(padded), encoder.carry(events))


def test_a_user_without_events_has_no_taste(encoder: UserEncoder) -> None:
    nothing = Events.of(np.zeros((1, 1, 64)), np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1))
    assert not encoder.encode(nothing).any()
    assert encoder.encode(nothing, torch.ones(1, 64)).any(), "events that left the window still count"
    assert encoder.prior.norm() == pytest.approx(1.0, abs=1e-5)


def test_an_encoder_comes_back_from_its_folder(encoder: UserEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    again = UserEncoder.from_pretrained(tmp_path)
    torch.testing.assert_close(
        again.encode(random_events(2, 5)), encoder.encode(random_events(2, 5)), atol=5e-3, rtol=0
    )
    (tmp_path / "config.json").write_text('{"width": 32}')
    with pytest.raises(CheckpointError, match=r"does not match its config\.json"):
        UserEncoder.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        UserEncoder.from_pretrained(tmp_path)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(IcgError, match="NaN"):
        Events.of(np.full((1, 1, 64), np.nan), np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), np.ones(1))


def log_of(*rows: tuple[int, int, int, int, float, int, int]) -> Log:
    columns = np.array(rows, float).T
    return Log(*columns[:4].astype(int), columns[4], *columns[5:].astype(int))


def test_examples_use_the_history_before_their_list_alone() -> None:
    log = log_of(
        (0, 1, IMPRESSION, 0, 1.0, 0, 0),
        (0, 2, IMPRESSION, 0, 1.0, 0, 1),
        (0, 1, CLICK, 0, 2.0, 0, 0),
        (0, 1, DWELL, 900, 3.0, 0, 0),
        (0, 3, IMPRESSION, 0, 9.0, 1, 0),
        (0, 4, IMPRESSION, 0, 9.0, 1, 1),
        (0, 4, LIKE, 0, 10.0, 1, 1),
        (1, 5, IMPRESSION, 0, 1.0, 2, 0),
        (1, 5, DISLIKE, 0, 2.0, 2, 0),
    )
    next_covers = users.examples(log, np.random.default_rng(0))
    assert next_covers.user.tolist() == [0, 0]
    assert next_covers.length.tolist() == [0, 2]
    assert next_covers.chosen.tolist() == [1, 4]
    assert next_covers.passed[:, 0].tolist() == [2, 3], "a passed-over cover is of the same list"
    assert (next_covers.passed[:, 1:] == -1).all()
    assert not next_covers.examined[:, 1:].any()
    history = next_covers.history(np.array([0, 1]), np.array([2, 1]), np.eye(8, 64, dtype=np.float32))
    assert history.action.tolist() == [[CLICK, DWELL], [DISLIKE, 0]]
    assert history.length.tolist() == [2, 1]
    assert history.covers[1, 0, 5] == 1


def test_a_log_must_be_in_order() -> None:
    with pytest.raises(IcgError, match="not ordered"):
        log_of((0, 1, CLICK, 0, 2.0, 0, 0), (0, 1, CLICK, 0, 1.0, 0, 0))


def test_position_bias_is_found_where_covers_are_placed_at_random() -> None:
    rng = np.random.default_rng(0)
    look = np.stack([rng.integers(0, size, 200) for size in SIZES[:4]], 1)
    log, _ = simulate(population(300, rng), look, rng.integers(0, SIZES[4], 200), 30, rng)
    np.testing.assert_allclose(log.examination(), 1 / (1 + 0.35 * np.arange(8)), atol=0.06)


@pytest.mark.slow
def test_the_encoder_learns_from_behaviour_alone_and_resumes(tmp_path: Path) -> None:
    """Covers whose embedding encodes their look; a twentieth of a real run must beat both chance and a swapped user."""
    rng = np.random.default_rng(0)
    look = np.stack([rng.integers(0, size, 400) for size in SIZES[:4]], 1)
    category = rng.integers(0, SIZES[4], 400)
    tables = [rng.standard_normal((size, 64)) for size in SIZES]
    covers = sum(t[c] for t, c in zip(tables, [*look.T, category], strict=True)).astype(np.float32)
    covers /= np.linalg.norm(covers, axis=1, keepdims=True)
    log, _ = simulate(population(200, rng), look[:300], category[:300], 30, rng)
    fit = Fit(steps=60, lr=5e-3, batch=32, warmup=5, save_every=30)
    whole = users.run(tmp_path / "whole", log, covers[:300], fit)
    users.run(tmp_path / "halves", log, covers[:300], fit, until=30)
    halves = users.run(tmp_path / "halves", log, covers[:300], fit)
    torch.testing.assert_close(halves.state_dict(), whole.state_dict())
    new, last = simulate(population(60, rng), look[:300], category[:300], 30, rng)
    pairs = preference.ClickPairs.draw(last, covers[300:], look[300:], category[300:], rng)
    mixture = TasteMixture.fit(covers[:300], 8, 3.0, 3.0)
    table = preference.curve(whole, mixture, new, covers[:300], pairs, covers[0])
    assert table["encoder"][WINDOW] > max(0.65, table["encoder"][1], table["shuffled"][WINDOW] + 0.1)
    assert abs(table["shuffled"][WINDOW] - 0.5) < 0.08


def test_cold_users_are_mixtures_of_clusters(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = unit(rng, 2)
    people = np.repeat(centres, (30, 10), 0) + 0.05 * unit(rng, 40)
    mixture = TasteMixture.fit(people / np.linalg.norm(people, axis=1, keepdims=True), 2, 4.0, 3.0)
    mixture.save_pretrained(tmp_path)
    mixture = TasteMixture.from_pretrained(tmp_path)
    nobody, zero = np.zeros((1, 64), np.float32), np.zeros(1)
    cold = mixture(nobody, nobody, zero)[0]
    assert cold @ centres[0] > cold @ centres[1] > 0, "the larger cluster weighs more"
    assert np.linalg.norm(cold) < 0.9, "little is known, so it is short"
    one = mixture(nobody, centres[1:], np.ones(1))[0]
    assert one @ centres[1] > 0.6 > one @ centres[0]
    away = mixture(nobody, -centres[:1], np.ones(1))[0]
    assert away @ centres[0] < cold @ centres[0], "a disliked cover moves away"
    known = mixture(centres[1:], centres[1:] * 50, np.full(1, 50.0))[0]
    assert known @ centres[1] > 0.98
    with pytest.raises(IcgError, match="at least as many as clusters"):
        TasteMixture.fit(centres, 3, 4.0, 3.0)
    with pytest.raises(CheckpointError, match="is missing"):
        TasteMixture.from_pretrained(tmp_path / "nowhere")
