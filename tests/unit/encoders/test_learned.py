"""The learned encoder behind the Encoder port."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import NotReady
from eyecatch.core.ports import Encoder
from eyecatch.core.score import Scoring
from eyecatch.core.types import Action, Event, Vector
from eyecatch.encoders.learned import LearnedEncoder, cover_space, reward_scales, user_encoder
from icg import starter
from icg.checkpoints import SHIPPED, SPACE
from icg.users.cold_start import TasteMixture
from icg.users.encoder import Events, UserEncoder
from icg.users.numpy_encoder import version

from tests.contracts.builders import event

# What the encoder was trained for are the embeddings of pictures; centroids of tastes lie among them.
PICTURES = TasteMixture.from_pretrained(starter.path() / "users").centroids
COVERS: dict[str, Vector] = {f"c{n}": PICTURES[n] for n in range(40)} | {"\x1fa": PICTURES[99]}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return user_encoder(starter.path())


def liked(*numbers: int, action: Action = Action.LIKE) -> list[Event]:
    """Newest first."""
    return [event(f"e{n}", cover_id=f"c{n}", time=1e9 - 60 * i, action=action) for i, n in enumerate(numbers)]


def cosine(a: Vector, b: Vector) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_users_lie_near_what_they_like_and_far_from_what_they_do_not(encoder: Encoder) -> None:
    opposite = int(np.argmin(PICTURES[:40] @ PICTURES[1]))
    mia, noah, lea = encoder([liked(1), liked(opposite), liked(1, action=Action.DISLIKE)], COVERS)
    assert cosine(mia, PICTURES[1]) > 0.6
    assert cosine(noah, PICTURES[opposite]) > 0.6
    assert cosine(lea, PICTURES[1]) < cosine(mia, PICTURES[1]) - 0.1


def test_events_without_known_covers_say_nothing(encoder: Encoder) -> None:
    unknown = event("gone", cover_id="gone", time=2e9, action=Action.PURCHASE)
    some, nobody, none, only_unknown = encoder([[unknown, *liked(1, 2)], [], [unknown], [unknown]], COVERS)
    np.testing.assert_allclose(some, encoder([liked(1, 2)], COVERS)[0], atol=1e-6)
    assert not nobody.any()
    assert not none.any()
    assert not only_unknown.any()
    assert encoder([], COVERS).shape == (0, 64)
    assert encoder([[event("e")]], COVERS)[0] @ PICTURES[99] > 0.4, "an item without a cover"


def test_only_the_latest_events_are_read(encoder: Encoder) -> None:
    many = liked(*range(40))
    np.testing.assert_array_equal(encoder([many], COVERS), encoder([many[:32]], COVERS))


def test_it_says_what_the_trained_modules_say(encoder: Encoder) -> None:
    """Actions, dwell, times and order reach the model as they did in training."""
    events = [
        event("e3", cover_id="c7", time=1e9 + 90_000, action=Action.DISLIKE),
        event("e2", cover_id="c6", time=1e9 + 4_000, action=Action.DWELL, dwell_ms=9_000),
        event("e1", cover_id="c5", time=1e9 + 7),
    ]
    covers, gone = PICTURES[[5, 6, 7]], np.array([[2, 6, 4]])
    values = Events.of(covers[None], gone, np.array([[0, 9_000, 0]]), np.array([[7.0, 4_000, 90_000]]), np.array([3]))
    encoded = UserEncoder.from_pretrained(starter.path() / "users").encode(values).numpy()
    mixture = TasteMixture.from_pretrained(starter.path() / "users")
    expected = mixture(encoded, (covers[0] - covers[2])[None], np.array([2]))
    np.testing.assert_allclose(encoder([events], COVERS), expected, atol=1e-5)


def test_without_users_the_mean_is_taken_in_the_space_of_the_checkpoint(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / SPACE, tmp_path / "space")
    encoder = user_encoder(tmp_path)
    assert isinstance(encoder, MeanEncoder)
    assert encoder.version == version(tmp_path) != version(starter.path())
    np.testing.assert_allclose(encoder([liked(1)], COVERS)[0], PICTURES[1], atol=1e-6)


def test_users_of_another_space_are_means_of_its_covers_whatever_the_checkpoint(tmp_path: Path) -> None:
    space = tmp_path / "fitted"
    shutil.copytree(SHIPPED / SPACE, space)
    own = user_encoder(starter.path(), space)
    assert isinstance(own, LearnedEncoder), "the checkpoint's own space, by its path"
    assert own.version == user_encoder(starter.path()).version
    weights = space / "projection.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    encoder = user_encoder(starter.path(), space)
    assert isinstance(encoder, MeanEncoder)
    assert encoder.version == cover_space(tmp_path, space) != own.version


def test_a_space_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"projection.safetensors is missing; allowed: a folder of icg space fit"):
        cover_space(starter.path(), tmp_path)


def test_scales_of_a_space_take_the_place_of_the_constants(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / SPACE, tmp_path, dirs_exist_ok=True)
    scales = {"preference": {"mean": 0.6, "deviation": 0.2}, "relevance": {"mean": 0.1, "deviation": 0.1, "weight": 0}}
    (tmp_path / "scales.json").write_text(json.dumps(scales))
    scoring = SCORING.scaled(reward_scales(starter.path(), tmp_path))
    assert (scoring.preference.weight, scoring.preference.mean, scoring.preference.deviation) == (1.0, 0.6, 0.2)
    assert not Scoring.parse("", scoring).stores("relevance"), "at chance it stands aside"
    assert Scoring.parse("relevance=0.5", scoring).stores("relevance"), "unless it is wanted"
    assert scoring.stores("aesthetic")
    assert {"preference", "relevance", "aesthetic"} <= set(reward_scales(starter.path())), (
        "the shipped space has scales too"
    )


@pytest.mark.parametrize("scale", [{"mean": 0.1}, {"mean": 0.1, "deviation": 0}, {"mean": "x", "deviation": 1}, 3])
def test_unusable_scales_are_refused_with_the_reward(tmp_path: Path, scale: object) -> None:
    shutil.copytree(SHIPPED / SPACE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "scales.json").write_text(json.dumps({"aesthetic": scale}))
    with pytest.raises(NotReady, match=r"aesthetic=.*allowed: mean, deviation above 0"):
        reward_scales(starter.path(), tmp_path)


def test_a_broken_checkpoint_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    with pytest.raises(NotReady, match=r"users.*config.json is missing"):
        LearnedEncoder(tmp_path)


@pytest.mark.parametrize("action", [Action.CLICK, Action.LIKE, Action.PURCHASE], ids=lambda action: action.name)
def test_a_cover_that_a_user_engaged_with_again_and_again_is_the_users_best(encoder: Encoder, action: Action) -> None:
    """Whichever actions a shop records: many have likes or clicks alone."""
    right = 0
    for seed in range(20):
        rows = np.random.default_rng(seed).standard_normal((6, 64)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        events = [event(f"{n}", cover_id="c", time=1e9 - 60 * n, action=action) for n in range(4)]
        (user,) = encoder([events], {"c": rows[0]})
        right += int((rows @ user).argmax()) == 0
    assert right >= 16
