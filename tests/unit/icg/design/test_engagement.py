"""The engagement model: its inputs change its prediction, and it learns the cause of engagement."""

from pathlib import Path

import numpy as np
import pytest
import torch
from icg import starter
from icg.brief import Brief
from icg.data.art import procedural
from icg.data.posts import World
from icg.errors import CheckpointError, IcgError
from icg.rewards.base import pixels
from icg.rewards.engagement import Engagement
from icg.rewards.engagement_net import CONTEXT, NOBODY, EngagementConfig, EngagementNet, Habit, context, habits
from icg.rewards.reader import SIDE, Reader
from icg.train.engagement import recipe
from icg.train.engagement.recipe import TEST, TRAIN, PostFeatures, correlations, fit, main, predictions, simulated
from icg.train.loop import Fit
from PIL import Image


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.from_pretrained(starter.path())


@pytest.fixture
def reward(reader: Reader) -> Engagement:
    torch.manual_seed(0)
    net = EngagementNet(EngagementConfig(reader.width))
    return Engagement(net, reader, {"mia": Habit(3.0, 1.0, 50)})


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).resize((SIDE, SIDE)) for _ in range(count)]


def test_it_is_a_reward_whose_gradient_reaches_the_pixels(reward: Engagement) -> None:
    images, briefs = pictures(3), [Brief(title) for title in ("panda", "apple", "boat")]
    plain = reward(images, briefs)
    assert plain.shape == (3,)
    assert ((plain > 0) & (plain < 1)).all()
    tensor = pixels(images, SIDE).requires_grad_()
    rated = reward.tensor(tensor, briefs)
    np.testing.assert_allclose(rated.detach().numpy(), plain, atol=1e-4)
    rated.sum().backward()  # type: ignore[no-untyped-call]
    assert tensor.grad is not None
    assert tensor.grad.abs().amax((1, 2, 3)).gt(0).all()
    assert not any(p.requires_grad for p in reward.net.parameters())


@torch.no_grad()
def test_texts_of_any_length_are_read_as_alone_and_stay_in_their_order(reader: Reader) -> None:
    tensor = pixels(pictures(5), SIDE)
    texts = ["panda", "a red kettle on a stove", "apple", "two small boats on a wide lake", "a red kettle on a stove"]
    together = reader(tensor, texts)
    for n, text in enumerate(texts):
        torch.testing.assert_close(together[n : n + 1], reader(tensor[n : n + 1], [text]), atol=1e-4, rtol=1e-4)


def test_predictions_depend_on_account_and_time(reward: Engagement) -> None:
    images, texts = pictures(1), ["panda"]
    nobody, mia = reward.predict(images, texts), reward.of("mia").predict(images, texts)
    later = reward.of("mia", 1.7e9).predict(images, texts)
    assert len({float(prediction.mean[0]) for prediction in (nobody, mia, later)}) == 3
    assert mia.buckets.sum() == pytest.approx(1, abs=1e-5)
    assert (mia.deviation > 0).all()
    with pytest.raises(IcgError, match="account='noa'"):
        reward.of("noa")


def test_habits_are_log_means_per_account() -> None:
    result = habits(["a", "b", "a"], np.array([0.0, 5.0, np.expm1(2)]))
    assert result["a"] == Habit(pytest.approx(1.0), pytest.approx(1.0), 2)  # type: ignore[arg-type]
    assert not context(NOBODY, None).any()
    day = context(NOBODY, 1.7e9), context(NOBODY, 1.7e9 + 7 * 24 * 3600)
    np.testing.assert_allclose(day[0][4:8], day[1][4:8], atol=1e-5)
    assert len(day[0]) == CONTEXT


def test_it_comes_back_from_its_folder(reward: Engagement, tmp_path: Path) -> None:
    reward.net.save_pretrained(tmp_path, reward.accounts)
    net, accounts = EngagementNet.from_pretrained(tmp_path)
    images, texts = pictures(2), ["panda", "boat"]
    again = Engagement(net, reward.reader, accounts).of("mia", 1.7e9).predict(images, texts)
    np.testing.assert_allclose(again.mean, reward.of("mia", 1.7e9).predict(images, texts).mean, atol=1e-2)
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text().replace('"hidden": 48', '"hidden": 9'))
    with pytest.raises(CheckpointError, match="does not match"):
        EngagementNet.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"no such folder"):
        EngagementNet.from_pretrained(tmp_path / "none")
    with pytest.raises(CheckpointError, match="reads 5 numbers"):
        Engagement(EngagementNet(EngagementConfig(5)), reward.reader)


def test_it_learns_what_posts_were_liked_for(tmp_path: Path) -> None:
    """Content of four known numbers, of which one causes engagement, for accounts of very different size."""
    rng = np.random.default_rng(0)
    count = 2000
    content = torch.from_numpy(rng.standard_normal((count, 4))).float()
    account = rng.integers(0, 5, count)
    log = 2.0 * account + content[:, 1].numpy() + 0.3 * rng.standard_normal(count)
    split = np.repeat([TRAIN, TEST], [1500, 500])
    kpi = np.expm1(np.maximum(log, 0))
    bucket = np.digitize(log - 2.0 * account, [0.3, 1.3])
    read = PostFeatures(content, account.astype(str), np.full(count, 1.7e9), kpi, bucket, split)
    schedule, config = Fit(160, 8e-3, 128, warmup=10), EngagementConfig(4, hidden=16, dropout=0.0)
    scores = {}
    for inputs in ("all", "account and time", "picture and text"):
        net = fit(tmp_path / inputs, read, config, schedule, inputs)
        scores[inputs] = correlations(predictions(net, read, split == TEST, inputs).mean, kpi[split == TEST])[0]
    net = fit(tmp_path / "shuffled", read, config, schedule, shuffled=True)
    scores["shuffled"] = correlations(predictions(net, read, split == TEST).mean, kpi[split == TEST])[0]
    assert scores["all"] > 0.98
    assert scores["all"] > scores["account and time"] + 0.02
    assert scores["all"] > scores["shuffled"] + 0.02
    assert 0.1 < scores["picture and text"] < 0.6


def test_correlations_handle_ties_and_constant_values() -> None:
    assert correlations(np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 9.0]))[1] == pytest.approx(1)
    assert correlations(np.zeros(3), np.array([1.0, 5.0, 9.0])) == (0, 0)
    assert correlations(np.array([1.0, 1.0, 2.0]), np.array([3.0, 4.0, 5.0]))[1] == pytest.approx(0.866, abs=1e-3)


def test_newcomers_and_held_out_subjects_appear_in_the_end_alone(reader: Reader) -> None:
    subjects = procedural(40)
    sample = simulated(reader, subjects, World.sample(5, np.random.default_rng(0)), 100, 0)
    early = sample.read.split == TRAIN
    assert "account 0" not in set(sample.read.account[early])
    assert not any(subjects[s].held_out for s in sample.posts.subject[early])
    late = sample.posts.subject[sample.read.split == TEST]
    assert all(subjects[s].held_out for s in late)


@pytest.mark.slow
def test_the_command_of_the_docs_leaves_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path), "--smoke"])
    assert set(recipe.INPUTS) | {recipe.SHUFFLED} == set(eval(capsys.readouterr().out.splitlines()[-1]))
    EngagementNet.from_pretrained(tmp_path / "engagement")
