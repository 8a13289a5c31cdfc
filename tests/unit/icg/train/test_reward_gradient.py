"""Alignment to rewards: the trained weights, the effect on covers, and the watch that stops it."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from icg import starter
from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.data.art import procedural
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError, IcgError
from icg.evaluate import judges, personalisation
from icg.evaluate.reward_hacking import Watch, diversity
from icg.rewards.mix import Mix
from icg.starter import Starter
from icg.train.alignment import grpo
from icg.train.alignment import recipe as alignment
from icg.train.alignment import reward_gradient as personalise
from icg.train.alignment.recipe import align
from icg.train.loop import Fit
from icg.users.cold_start import TasteMixture
from icg.users.encoder import UserEncoder
from PIL import Image
from torch import Tensor

from tests.unit.icg.models.test_families import covers_of

SIZE = (64, 64)
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


class Warmth:
    """How much redder than blue a cover is, in -2..2: easily learned, and easily judged."""

    name, range = "warmth", (-2.0, 2.0)

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return (images[:, 0] - images[:, 2]).mean((1, 2))

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        pixels = np.stack([np.asarray(i, np.float32) for i in images]) / 127.5 - 1
        return (pixels[..., 0] - pixels[..., 2]).mean((1, 2))


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(i.resize((4, 4)), np.float32).ravel() for i in images])


def looks(pixels: Tensor) -> Tensor:
    return F.normalize(F.pad(F.adaptive_avg_pool2d(pixels, 4).flatten(1), (0, 16)), dim=-1)


def briefs(count: int, seed: int = 0, users: int = 2) -> list[Brief]:
    rng = np.random.default_rng(seed)
    result = []
    for n in range(count):
        user = rng.standard_normal(64).astype(np.float32)
        result.append(
            Brief(f"item {n // users}", (), user / np.linalg.norm(user), seed=seed + n, steps=3, guidance=2, size=SIZE)
        )
    return result


def draw(rng: np.random.Generator, count: int) -> list[Brief]:
    return briefs(count, int(rng.integers(100)))


@pytest.fixture(params=[pytest.param("sd15", marks=pytest.mark.slow), "sana"])
def pipeline(small: Starter, request: pytest.FixtureRequest) -> CoverPipeline:
    result = covers_of(small, request.param)
    for part in (result.family.denoiser, result.family.vae):
        part.requires_grad_(False)
    return result


def aligner(pipeline: CoverPipeline, **config: float) -> personalise.Aligner:
    mix = Mix({"warmth": Warmth()}, {"warmth": 1.0}, {"warmth": (0.0, 0.05)}, clip=100.0)
    return personalise.Aligner(pipeline, mix, looks, personalise.AlignConfig(**config))


def watch(folder: Path) -> Watch:
    return Watch(folder / "watch.jsonl", briefs(6, 1000), {"warmth": Warmth()}, thumbnails)


def test_alignment_climbs_the_reward_on_held_out_briefs_and_resumes(pipeline: CoverPipeline, tmp_path: Path) -> None:
    start = {k: v.clone() for k, v in pipeline.adapter.state_dict().items()}
    fit = Fit(steps=8, lr=3e-3, batch=4, warmup=1, save_every=4)
    model, watched = aligner(pipeline), watch(tmp_path)
    align(tmp_path, model, draw, fit, watched)
    lines = [json.loads(line) for line in (tmp_path / "watch.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 4, 8]
    assert lines[-1]["warmth"] > lines[0]["warmth"]
    assert (tmp_path / "covers_000008.png").is_file()
    after = model.adapter.state_dict()
    changed = {k.split(".")[0] for k in after if not torch.equal(after[k], start[k])}
    assert changed == {"refiner", "connector"}
    saved = IcgAdapter.from_pretrained(tmp_path / "adapter").state_dict()
    torch.testing.assert_close(saved, after, atol=2e-3, rtol=1e-2)
    for part in (pipeline.family.denoiser, pipeline.family.vae):
        assert all(p.grad is None for p in part.parameters())
    pipeline.adapter.load_state_dict(start)
    align(tmp_path / "halves", aligner(pipeline), draw, fit, watch(tmp_path / "a"), until=4)
    pipeline.adapter.load_state_dict(start)
    resumed = aligner(pipeline)
    align(tmp_path / "halves", resumed, draw, fit, watch(tmp_path / "b"))
    torch.testing.assert_close(resumed.adapter.state_dict(), after)


def test_consistent_condition_leaves_users_free_and_kl_does_not(pipeline: CoverPipeline) -> None:
    """What the refiner learns of users costs KL alone; what moves the item's own direction costs both."""

    def terms(model: personalise.Aligner) -> dict[str, float]:
        parts = model.loss(briefs(4), np.random.default_rng(0))
        return {name: float(parts[name].detach()) for name in ("consistency", "kl")}

    model = aligner(pipeline)
    assert terms(model) == pytest.approx({"consistency": 0.0, "kl": 0.0}, abs=1e-12)
    start = copy.deepcopy(model.adapter.state_dict())
    with torch.no_grad():
        for weight in model.adapter.refiner.parameters():
            weight += 0.5 * torch.randn_like(weight)
    assert terms(model)["consistency"] == pytest.approx(0.0, abs=1e-12)
    assert terms(model)["kl"] > 1e-8
    model.adapter.load_state_dict(start)
    with torch.no_grad():
        for weight in model.adapter.connector.parameters():
            weight += 0.1 * torch.randn_like(weight)
    assert min(terms(model).values()) > 1e-8


def test_both_terms_hold_a_lora_too(pipeline: CoverPipeline) -> None:
    model = aligner(pipeline, lora=2, kl=1.0)
    before = model.loss(briefs(4), np.random.default_rng(0))
    assert float(before["kl"].detach()) == pytest.approx(0.0, abs=1e-10)
    with torch.no_grad():
        for weight in model.lora:
            weight += torch.randn_like(weight)
    after = model.loss(briefs(4), np.random.default_rng(0))
    assert float(after["kl"].detach()) > 1e-6
    assert float(after["consistency"].detach()) > 1e-6


def test_lora_is_trained_saved_and_comes_back(pipeline: CoverPipeline, tmp_path: Path) -> None:
    brief = briefs(1)[0]
    before = np.asarray(pipeline([brief])[0], int)
    model = aligner(pipeline, lora=2)
    assert len(list(model.lora)) > 0
    for _ in range(2):
        model.loss(briefs(4), np.random.default_rng(0))["loss"].backward()
        with torch.no_grad():
            for weight in model.lora:
                weight -= 0.5 * F.normalize(weight.grad, dim=None)
    model.save(tmp_path)
    cover = np.asarray(pipeline([brief])[0], int)
    assert np.abs(cover - before).max() > 0
    pipeline.family.denoiser.delete_adapters("default")
    assert np.array_equal(np.asarray(pipeline([brief])[0], int), before)
    pipeline.family.load_lora(tmp_path / "lora")
    assert np.abs(np.asarray(pipeline([brief])[0], int) - cover).max() <= 1
    with pytest.raises(CheckpointError, match="not for this denoiser"):
        pipeline.family.load_lora(tmp_path / "nowhere")


def test_dispersion_falls_as_covers_of_different_users_part(pipeline: CoverPipeline) -> None:
    model = aligner(pipeline)
    unit = torch.eye(8)
    users = unit[[0, 1, 2, 3]]
    same, apart = unit[[0, 0, 1, 1]], unit[[0, 4, 1, 5]]
    assert model.dispersion(same, users) > model.dispersion(apart, users)
    assert model.dispersion(same, unit[[0, 0, 1, 1]]) == 0, "equal users may have equal covers"
    with pytest.raises(IcgError, match="multiple of users=2"):
        model.loss(briefs(3), np.random.default_rng(0))


def test_the_consistent_condition_holds_the_denoisers_answers(small: Starter) -> None:
    moved = []
    for weight in (0.0, 1e4):
        pipeline = covers_of(small, "sana")
        for part in (pipeline.family.denoiser, pipeline.family.vae):
            part.requires_grad_(False)
        model = aligner(pipeline, dispersion=0, consistency=weight)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
        for n in range(4):
            parts = model.loss(briefs(4, n), np.random.default_rng(n))
            optimizer.zero_grad()
            parts["loss"].backward()
            optimizer.step()
        moved.append(model.loss(briefs(4, 9), np.random.default_rng(9))["consistency"].item())
    assert moved[1] < 0.5 * moved[0]


def test_training_stops_when_covers_become_alike_or_a_held_out_reward_falls(small: Starter, tmp_path: Path) -> None:
    pipeline = covers_of(small, "sana")

    class Falling(Warmth):
        looks = 0

        def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
            self.looks += 1
            return np.linspace(0, 1, len(images)) - (self.looks == 3)

    falling = Watch(tmp_path / "w.jsonl", briefs(4), {"falling": Falling()}, thumbnails)
    assert [falling.look(step, pipeline) for step in range(3)] == [False, False, True]
    alike = iter([1.0, 0.95, 0.5])
    narrow = Watch(tmp_path / "v.jsonl", briefs(4), {}, lambda images: next(alike) * np.eye(4))
    assert [narrow.look(step, pipeline) for step in range(3)] == [False, False, True]
    alike = iter([1.0, 0.5])
    unstopped = Watch(tmp_path / "u.jsonl", briefs(4), {}, lambda images: next(alike) * np.eye(4), stops=False)
    assert [unstopped.look(step, pipeline) for step in range(2)] == [False, False]
    assert (
        json.loads((tmp_path / "u.jsonl").read_text().splitlines()[1])["diversity"] < 0.6 * unstopped.first["diversity"]
    )


def test_diversity_is_the_mean_distance() -> None:
    assert diversity(np.array([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx(10 / 3)


@pytest.mark.slow
def test_a_policy_gradient_climbs_a_reward_that_has_no_gradient(small: Starter, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    model = grpo.Policy(covers_of(small, "sana"), Warmth(), grpo.PolicyConfig(group=16, kl=0.0))
    before = {k: v.clone() for k, v in model.adapter.state_dict().items()}
    fit = Fit(steps=40, lr=2e-3, batch=2, warmup=1, save_every=40)
    align(tmp_path, model, lambda rng, count: briefs(count, int(rng.integers(100)), 1), fit, watched)
    first, last = (json.loads(line) for line in (tmp_path / "watch.jsonl").read_text().splitlines())
    assert last["warmth"] > first["warmth"] + watched.spread["warmth"] * 0.2
    changed = {k.split(".")[0] for k, v in model.adapter.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"refiner", "connector"}
    assert all(p.grad is None for p in model.pipeline.family.denoiser.parameters())


@pytest.mark.slow
def test_the_alignment_recipe_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alignment.main(["--out", str(tmp_path), "--smoke", "--go-on"])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["before"]["step"], figures["after"]["step"]) == (0, 2)
    assert {"relevance", "preference", "diversity", "between_users", "title_top5"} <= set(figures["after"])
    assert IcgAdapter.from_pretrained(tmp_path / "adapter").config.user == 64
    scales = json.loads((tmp_path / "scales.json").read_text())
    assert all(deviation > 0 for _, deviation in scales.values())


@pytest.mark.slow
def test_a_fresh_alignment_begins_without_users(tmp_path: Path) -> None:
    fit = Fit(1, 1e-3, 4, warmup=1, save_every=1)
    config = personalise.AlignConfig(dispersion=1.0)
    parts = starter.load()
    material = alignment.simulated(parts, procedural(), alignment.SMOKE, 0)
    figures = alignment.run(tmp_path, parts, material, 8, fit, config, {"preference": 1.0}, fresh=True)
    assert figures["before"]["between_users"] == pytest.approx(0, abs=1e-5), "one cover for everybody"
    assert figures["after"]["between_users"] > 1e-5


def test_of_several_draws_the_most_relevant_is_kept(small: Starter) -> None:
    briefs = [Brief("red fox", seed=3), Brief("green tea", seed=4)]
    relevance = Warmth()
    small = replace(small, rewards={"relevance": relevance})
    alone, best = judges.draw(small, briefs), judges.draw(small, briefs, 3)
    others = judges.draw(small, [replace(b, seed=b.seed + n * judges.APART) for b in briefs for n in range(3)])
    apart = np.abs(np.asarray(others[0], int) - np.asarray(alone[0], int))
    assert apart.max() <= 2, "the first draw equals the only one, except for rounding in larger batches"
    values = relevance(others, [b for b in briefs for _ in range(3)]).reshape(2, 3)
    assert relevance(best, briefs) == pytest.approx(values.max(1))
    assert np.ptp(values, 1).min() > 0


@pytest.mark.slow
def test_figures_of_personalisation(small: Starter, tmp_path: Path) -> None:
    subjects = procedural(60)
    assert 0 < sum(s.held_out for s in subjects) < 60
    torch.manual_seed(0)
    UserEncoder().save_pretrained(tmp_path / "users")
    TasteMixture.fit(np.eye(8, 64, dtype=np.float32), 4, 3.0, 3.0).save_pretrained(tmp_path / "users")
    loud, deaf = copy.deepcopy(small.pipeline.adapter), copy.deepcopy(small.pipeline.adapter)
    with torch.no_grad():
        for adapter, factor in ((loud, 30.0), (deaf, 0.0)):
            for part in (adapter.refiner.mlp[-1], adapter.refiner.attend.out_proj):
                part.weight *= factor
                part.bias *= factor
    deaf.save_pretrained(tmp_path / "deaf")
    loud.save_pretrained(tmp_path / "loud")
    parts = replace(small, pipeline=personalisation.with_adapter(small.pipeline, tmp_path / "loud"))
    compared = personalisation.OtherAdapters(without=tmp_path / "deaf", before=tmp_path / "loud")
    marking = {"": small.embedding, "_second": small.embedding}
    kinds = ["", "_two_references", "_best_of_4"]
    figures = personalisation.measure_seed(parts, tmp_path, subjects, 0, 6, compared, marking, kinds, simulated=80)
    assert set(personalisation.KEYS) <= set(figures)
    assert figures["title_top5_seen"] == figures["title_top5_seen_second"]
    assert figures["diversity_ratio"] == pytest.approx(1.0), "compared with itself"
    assert figures["dispersion_ratio"] > 1, "an adapter without users draws the same cover for all"
    assert {f"own_over_swapped{kind}" for kind in kinds} <= set(figures)
    for name in (
        "own_over_swapped",
        "own_over_swapped_model",
        "title_top5_unseen_real",
        "shuffled_control",
        "preference_unseen_users",
        "preference_shuffled",
    ):
        assert 0 <= figures[name] <= 1
