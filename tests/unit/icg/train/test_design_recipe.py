"""The design recipe: its examples, its judge, and that evaluation separates good designs from bad ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from icg import starter
from icg.brief import Brief
from icg.data.art import procedural
from icg.data.posts import World
from icg.design.designer import Designer
from icg.design.features import Direction
from icg.design.judge import DesignJudge
from icg.design.kpi import DesignModel, misses
from icg.design.schema import Design
from icg.errors import CheckpointError
from icg.models import vlm as reading
from icg.rewards.reader import Reader
from icg.train.engagement.design import DesignExamples, adapted, avoidable, design_examples, fit, main, save, words
from icg.train.engagement.recipe import Sample, simulated
from icg.train.loop import Fit
from icg.train.studies.design_evaluation import DesignItems, Truth, agreement, by_bucket, ordered, searching
from safetensors.numpy import save_file

DARK = Design((("navy", 6),), ("dark", "cool", "vivid"), ("panda",), "centre", "large", "ink")
LIGHT = Design((("cream", 6), ("white", 2)), ("light", "warm", "soft"), ("panda",), "left", "small", "3d")


@pytest.fixture(scope="module")
def sample() -> Sample:
    world = World.sample(3, np.random.default_rng(0))
    return simulated(Reader.from_pretrained(starter.path()), procedural(40), world, 60, 0)


def test_values_of_posts_with_low_engagement_are_avoided(sample: Sample) -> None:
    bucket = np.array([0] * 20 + [2] * 10)
    designs = [DARK] * 18 + [LIGHT] * 12
    assert set(avoidable(designs, bucket)) <= words(DARK)
    assert len(avoidable(designs, bucket)) == 4
    assert avoidable([DARK, LIGHT] * 15, bucket) == [], "as common in low posts as in high ones"
    rows = np.arange(30)
    read = replace(sample.read, account=np.full(60, "a"), bucket=np.concatenate([bucket, bucket]))
    data = design_examples(read, sample.titles, designs * 2, rows)
    assert all(not words(d) & set(d.avoid) for d in data.designs), "no design avoids its own words"
    assert any(d.avoid for d in data.designs)
    assert data.prompts[0].startswith("low likes: ")


@pytest.mark.slow
def test_a_tuned_model_writes_designs_of_the_target_bucket(tmp_path: Path) -> None:
    from icg.design.kpi import prompt

    vlm, processor = reading.load(starter.path() / "vlm")
    torch.manual_seed(0)
    pairs = [("high", DARK), ("low", LIGHT)]
    data = DesignExamples([prompt("panda", "", None, t) for t, _ in pairs], [d for _, d in pairs])
    tuned = fit(tmp_path / "tuning", adapted(vlm, 8), processor, data, Fit(60, 5e-3, 4, warmup=5))
    save(tuned, tmp_path / "design")
    DesignJudge.fit([DARK, LIGHT] * 9, np.full(18, "a"), np.array([2.0, 0.0] * 9)).save_pretrained(tmp_path / "design")
    assert str(starter.path()) not in (tmp_path / "design" / "adapter_config.json").read_text()
    model = DesignModel.from_pretrained(starter.path() / "vlm", tmp_path / "design")
    assert model.write("panda", "high") == [DARK]
    assert model.write("panda", "low") == [LIGHT]


def test_a_judge_learns_everyones_taste_and_each_accounts_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dark, account = rng.random(400) < 0.5, rng.integers(0, 2, 400)
    likes = np.where(account == 0, 1.0, -1.0) * np.where(dark, 1, -1) + 5.0 * account
    judge = DesignJudge.fit(
        [DARK if d else LIGHT for d in dark], account.astype(str), likes + 0.1 * rng.standard_normal(400)
    )
    ratings = judge([DARK, LIGHT], ["0", "0"])
    assert ratings[0] > 0.5 > -0.5 > ratings[1]
    other = judge([DARK, LIGHT], ["1", "1"])
    assert other[1] > 0.5 > -0.5 > other[0]
    assert abs(judge([DARK], ["nobody"])[0]) < 0.5, "equal tastes of both do not predict an unknown account's"
    judge.save_pretrained(tmp_path)
    again = DesignJudge.from_pretrained(tmp_path)
    assert again([DARK, LIGHT, DARK], ["0", "1", ""]) == pytest.approx(
        judge([DARK, LIGHT, DARK], ["0", "1", ""]), abs=0.01
    )
    save_file({"weight": judge.weight[:2]}, tmp_path / "judge.safetensors", {"accounts": json.dumps(["0", "1"])})
    with pytest.raises(CheckpointError, match=r"weight of \(2, "):
        DesignJudge.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"allowed: icg.train.engagement.design's folder"):
        DesignJudge.from_pretrained(tmp_path / "nowhere")


def test_a_judge_chooses_along_the_way_from_low_to_high(monkeypatch: pytest.MonkeyPatch) -> None:
    between = replace(DARK, tones=LIGHT.tones)
    judge = DesignJudge.fit([DARK, LIGHT, between] * 20, np.full(60, "a"), np.array([3.0, 0.0, 1.5] * 20))
    model = DesignModel.from_pretrained(starter.path() / "vlm").judged_by(judge)
    calls = []
    monkeypatch.setattr(model, "_fill", lambda *args: calls.append(args) or [LIGHT, between, DARK])
    assert [model.write("panda", t, "a") for t in ("low", "medium", "high")] == [[LIGHT], [between], [DARK]]
    assert len(calls) == 2, "for both buckets, once for all targets"
    assert misses(np.array([0.1, 0.9, 0.45]), "medium").argmin() == 2


def test_order_and_agreement_are_counted() -> None:
    assert ordered([np.array([0.0, 1, 2]), np.array([1.0, 1, 1]), np.array([2.0, 2, 0])]) == pytest.approx(1 / 3)
    shares = agreement([DARK, LIGHT], [DARK, replace(DARK, objects=("boat",))])
    assert shares["colour precision"] == 0.5
    assert shares["objects"] == shares["style"] == shares["size"] == 0.5
    assert agreement([LIGHT], [replace(LIGHT, colours=(("cream", 9),))])["colour precision"] == 0.5
    assert agreement([LIGHT], [replace(LIGHT, colours=(("cream", 9),))])["colour recall"] == 1.0


def test_the_truth_is_the_worlds(sample: Sample) -> None:
    designs = [DARK if look[1] == 4 else LIGHT for look in sample.posts.look]  # 4 is the palette "night"
    truth = Truth(sample.world, sample, designs)
    account = np.array([1])
    e, t = sample.world.everyone, sample.world.deviations
    assert truth([DARK], account)[0] == pytest.approx(
        e[0][3] + t[0][1, 3] + e[1][4] + t[1][1, 4] + e[3][0] + t[3][1, 0]
    )


def test_a_search_takes_the_design_its_judge_prefers() -> None:
    class Sampler:
        def write(self, *_: object, **__: object) -> list[Design]:
            return [LIGHT, DARK, replace(LIGHT, size="large")]

    judge = DesignJudge.fit([DARK, LIGHT] * 20, np.full(40, "a"), np.array([2.0, 0.0] * 20))
    items = DesignItems(["panda"], ["a"], np.array([0]), np.array([1.7e9]))
    low, _, high = by_bucket(searching(Sampler(), judge, 3), items)  # type: ignore[arg-type]
    assert (low[0], high[0]) == (LIGHT, DARK)


def test_a_design_is_a_condition_or_part_of_the_title() -> None:
    model = DesignModel.from_pretrained(starter.path() / "vlm")
    rng = np.random.default_rng(0)
    towards = {DARK: rng.standard_normal(64), LIGHT: rng.standard_normal(64)}
    direction = Direction.fit([DARK, LIGHT] * 30, np.stack([towards[DARK], towards[LIGHT]] * 30))
    user = np.eye(64, dtype=np.float32)[0]
    alone, beside = (Designer(model, direction).apply(Brief("panda", user_embedding=u), DARK) for u in (None, user))
    assert alone.user_embedding is not None
    assert beside.user_embedding is not None
    assert np.linalg.norm(beside.user_embedding) == pytest.approx(1, abs=1e-5)
    assert beside.user_embedding[0] > alone.user_embedding[0]
    assert beside.user_embedding @ alone.user_embedding > 0.5
    assert Designer(model).apply(Brief("panda"), DARK).title == "panda, ink style, navy, dark cool vivid, large"
    designer = Designer(model)
    assert designer.design(Brief("panda"), "high").objects == ("panda",)


@pytest.mark.slow
def test_the_command_of_the_docs_leaves_a_design_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path), "--smoke"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 4
    assert (tmp_path / "design" / "adapter_model.safetensors").is_file()
    Direction.from_pretrained(tmp_path / "design")
    assert len(DesignJudge.from_pretrained(tmp_path / "design").accounts) == 3
