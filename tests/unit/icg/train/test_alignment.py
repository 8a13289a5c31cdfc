"""Alignment to engagement: covers of unseen briefs get a higher reward; an unknown reward is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from icg import starter
from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.errors import IcgError
from icg.evaluate.reward_hacking import Watch
from icg.rewards.engagement import Engagement
from icg.rewards.engagement_net import EngagementConfig, EngagementNet
from icg.rewards.mix import Mix
from icg.rewards.reader import Reader
from icg.starter import Starter
from icg.train.alignment import grpo
from icg.train.alignment import recipe as alignment
from icg.train.alignment import reward_gradient as personalise
from icg.train.alignment.material import Material, of_catalogue
from icg.train.alignment.recipe import align
from icg.train.loop import Fit
from PIL import Image

from tests.unit.icg.models.test_families import covers_of
from tests.unit.icg.train.test_connector_priors import mapping, table
from tests.unit.icg.train.test_reward_gradient import briefs, draw, looks, thumbnails
from tests.unit.icg.train.test_users_own import shop


@pytest.fixture(scope="module")
def reward() -> Engagement:
    """The shipped VLM's and embeddings' features of real pixels with a random network: cheap, and differentiable like the real one."""
    reader = Reader.from_pretrained(starter.path())
    torch.manual_seed(0)
    return Engagement(EngagementNet(EngagementConfig(reader.width)), reader)


@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
def test_covers_of_unseen_briefs_come_to_engage(small: Starter, reward: Engagement, tmp_path: Path) -> None:
    pipeline = covers_of(small, "sana")
    for part in (pipeline.family.denoiser, pipeline.family.vae):
        part.requires_grad_(False)
    unseen = briefs(6, 1000)
    rated = reward(pipeline(unseen), unseen)
    scale = (float(rated.mean()), max(float(rated.std()), 1e-3))
    mix = Mix({"engagement": reward}, {"engagement": 1.0}, {"engagement": scale}, clip=100.0)
    model = personalise.Aligner(pipeline, mix, looks, personalise.AlignConfig(dispersion=0.0, consistency=0.0))
    watch = Watch(tmp_path / "watch.jsonl", unseen, {"engagement": reward}, thumbnails, stops=False)
    align(tmp_path, model, draw, Fit(steps=16, lr=3e-3, batch=4, warmup=1, save_every=16), watch)
    first, last = (json.loads(line) for line in watch.path.read_text().splitlines())
    assert last["engagement"] > first["engagement"] + 0.5 * watch.spread["engagement"]
    assert all(weight.grad is None for weight in reward.net.parameters())


def test_an_unknown_reward_is_refused(small: Starter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit, config = Fit(1, 1e-3, 4, warmup=1), personalise.AlignConfig()
    material = Material(lambda rng: ("mug", ()), lambda rng: ("cup", ()), ["mug"], np.eye(4, 64, dtype=np.float32), 2)
    with pytest.raises(IcgError, match=r"weights for \['beauty'\]; allowed: .*'engagement'"):
        alignment.run(tmp_path, small, material, 4, fit, config, {"beauty": 1.0})
    arguments = ["--out", str(tmp_path), "--smoke"]
    for flags, message in (
        (["--beauty", "1"], "--beauty"),
        (["--engagement", "much"], "--engagement"),
        (["--by", "policy", "--group", "1", "--art", "."], "--group 1; allowed: 2 to --batch 16"),
        (["--art", ".", "--data", "."], "--data or --art is needed, not both"),
    ):
        with pytest.raises(SystemExit) as left:
            alignment.main((arguments[:-1] if "--art" in flags else arguments) + flags)
        assert left.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
@pytest.mark.parametrize("by", ["gradient", "policy"])
def test_the_recipe_follows_engagement_both_ways(by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--by", by, "--engagement", "3", "--smoke", "--go-on"]
    alignment.main(["--out", str(tmp_path), *flags])
    figures = json.loads(capsys.readouterr().out)
    assert figures["after"]["engagement"] != figures["before"]["engagement"]
    assert "engagement" in json.loads((tmp_path / "scales.json").read_text())
    assert json.loads((tmp_path / "weights.json").read_text())["engagement"] == 3
    before = starter.load().pipeline.adapter.state_dict()
    after = IcgAdapter.from_pretrained(tmp_path / "adapter").state_dict()
    assert {k.split(".")[0] for k, v in after.items() if not torch.equal(v, before[k])} >= {"refiner", "connector"}
    assert json.loads((tmp_path / "config.json").read_text())["config"].get("group") == (4 if by == "policy" else None)


def test_a_policy_draws_a_group_for_every_brief_it_is_given(small: Starter) -> None:
    judged: list[int] = []

    def judge(covers: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        judged.append(len(covers))
        assert len({b.seed for b in briefs}) == 2
        return np.arange(len(covers), dtype=np.float32)

    policy = grpo.Policy(covers_of(small, "sana"), judge, grpo.PolicyConfig(group=3, steps=1))
    parts = policy.loss(briefs(2), np.random.default_rng(0))
    parts["loss"].backward()  # type: ignore[no-untyped-call]
    assert judged == [6]
    assert all(p.grad is not None for p in policy.adapter.refiner.mlp.parameters())


def test_items_and_users_of_a_catalogue_are_those_of_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    material = of_catalogue(starter.path(), shop(tmp_path / "shop", items=30), tmp_path / "run", 0)
    assert material.users.shape == (30, 64)
    assert (np.linalg.norm(material.users, axis=1) <= 1 + 1e-5).all()
    assert material.held_out == 3
    rng = np.random.default_rng(0)
    trained, unseen = ([items(rng) for _ in range(60)] for items in (material.trained, material.unseen))
    assert {title for title, _ in trained} <= set(material.titles)
    assert not {title for title, _ in unseen} & set(material.titles)
    assert {len(pictures) for _, pictures in trained} == {0, 1}
    assert material.recognised is not None
    assert material.recognised < alignment.KNOWS, "its titles say nothing"
    assert "30 users" in capsys.readouterr().out
    assert "nothing" in (tmp_path / "run" / "left_out.jsonl").read_text()


def test_users_with_a_vector_are_there_at_their_priors_too(tmp_path: Path) -> None:
    rows = {f"user {n}": [0.1 * n, 0.0, 0.3] for n in range(1, 5)} | {"stranger": [1.0, 1.0, 1.0]}
    vectors = (table(tmp_path, rows), mapping(tmp_path))
    folder = shop(tmp_path / "shop", items=30)
    without = of_catalogue(starter.path(), folder, tmp_path / "run", 0).users
    users = of_catalogue(starter.path(), folder, tmp_path / "run", 0, vectors).users
    assert len(users) == len(without) + 4
    assert any(np.allclose(user[:3], [0.1, 0.0, 0.3]) for user in users)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"events": False}, "no table of events"),
        ({"items": 3}, r"\d items to train on, 30 users with events.*allowed: 10 items and 8 users, or more"),
        ({"people": 1}, "items to train on, 1 users with events"),
        ({"people": 0}, "items to train on, 0 users with events"),
    ],
)
def test_a_catalogue_that_says_too_little_is_refused(content: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(IcgError, match=message):
        of_catalogue(starter.path(), shop(tmp_path / "shop", **content), tmp_path / "run", 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
def test_a_checkpoint_is_aligned_on_its_own_catalogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", str(shop(tmp_path / "shop")), "--checkpoint", str(starter.path()), "--device", "cpu", "--go-on"]
    alignment.main(
        ["--out", str(tmp_path / "run"), *flags, "--steps", "2", "--batch", "4", "--watched", "8", "--checkpointing"]
    )
    *_, relevance, figures = capsys.readouterr().out.splitlines()
    assert "relevance finds" in relevance
    assert json.loads(figures)["after"]["step"] == 2
    assert set(json.loads((tmp_path / "run" / "weights.json").read_text())) == {"preference", "aesthetic"}
    assert IcgAdapter.from_pretrained(tmp_path / "run" / "adapter").config.user == 64
