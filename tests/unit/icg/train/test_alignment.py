"""Alignment to engagement: covers of unseen briefs get a higher reward; an unknown reward is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from icg import starter
from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.data.art import procedural
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
from icg.train.alignment.recipe import align
from icg.train.loop import Fit
from PIL import Image

from tests.unit.icg.models.test_families import covers_of
from tests.unit.icg.train.test_reward_gradient import briefs, draw, looks, thumbnails


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


def test_an_unknown_reward_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit, config = Fit(1, 1e-3, 4, warmup=1), personalise.AlignConfig()
    with pytest.raises(IcgError, match=r"weights for \['beauty'\]; allowed: .*'engagement'"):
        alignment.run(tmp_path, procedural(), alignment.SMOKE, fit, config, {"beauty": 1.0})
    arguments = ["--out", str(tmp_path), "--smoke"]
    for flags, message in (
        (["--beauty", "1"], "--beauty"),
        (["--engagement", "much"], "--engagement"),
        (["--by", "policy", "--group", "1", "--art", "."], "--group 1; allowed: 2 to --batch 16"),
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
