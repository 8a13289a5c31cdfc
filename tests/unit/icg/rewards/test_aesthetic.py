"""The small aesthetic and its recipe: it ranks damage in order; the recipe resumes; a head of other widths is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from icg import starter
from icg.brief import Brief
from icg.data import photographs
from icg.data.art import procedural
from icg.data.compose import SIDE, Look, compose
from icg.data.degrade import DAMAGES, finished
from icg.errors import CheckpointError, IcgError
from icg.rewards.base import Reward
from icg.rewards.small_aesthetic import WIDTH, AestheticHead, SmallAesthetic
from icg.rewards.statistics import NAMES, statistics
from icg.starter import rewards
from icg.train.aesthetic import recipe
from icg.train.loop import Fit
from PIL import Image

SUBJECTS = procedural(6)
LOOKS = [Look("painted", "ocean", "hills", "medium"), Look("3d", "sunset", "sunburst", "close")]
BIG = [(compose(s.sprites[look.style], look, i, 2 * SIDE), look) for i, s in enumerate(SUBJECTS) for look in LOOKS]


@pytest.fixture(scope="module")
def shipped() -> Reward:
    return rewards.load("aesthetic")


def damaged(kind: str, severity: float) -> list[Image.Image]:
    art = [s.sprites["3d"] for s in SUBJECTS]
    return [DAMAGES[kind](big, look, severity, np.random.default_rng(i), art) for i, (big, look) in enumerate(BIG)]


def test_shapes_it_never_saw_are_better_whole(shipped: Reward) -> None:
    briefs = [Brief("x")] * len(BIG)
    clean = shipped([finished(big) for big, _ in BIG], briefs)
    right = {}
    for kind in DAMAGES:
        mild, severe = (shipped(damaged(kind, severity), briefs) for severity in (0.25, 0.9))
        right[kind] = float(np.mean([clean > mild, mild > severe, clean > severe]))
        assert clean.mean() > severe.mean(), kind
    assert np.mean(list(right.values())) > 0.75  # chance 0.5
    assert min(right.values()) > 0.5, right


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_deterministic_and_grows(kind: str) -> None:
    mild, again, severe = damaged(kind, 0.2), damaged(kind, 0.2), damaged(kind, 1.0)
    clean = [finished(big) for big, _ in BIG]
    assert all(m.size == (SIDE, SIDE) and m.tobytes() == a.tobytes() for m, a in zip(mild, again, strict=True))

    def far(pictures: list[Image.Image]) -> float:
        pairs = zip(pictures, clean, strict=True)
        return float(np.mean([np.abs(np.asarray(p, float) - np.asarray(c, float)).mean() for p, c in pairs]))

    assert 0 < far(mild) < far(severe)


def test_the_shipped_head_lifts_a_blurred_cover() -> None:
    judge = SmallAesthetic.from_pretrained(starter.path() / "aesthetic")
    blurred = damaged("blur", 0.8)[:4]
    rows = torch.from_numpy(np.stack([np.asarray(b) for b in blurred])).permute(0, 3, 1, 2).float() / 127.5 - 1
    pixels = rows.clone().requires_grad_()
    before = judge.tensor(pixels, [Brief("x")] * 4)
    before.sum().backward()
    assert torch.isfinite(pixels.grad).all()
    assert (pixels.grad.abs().amax((1, 2, 3)) > 0).all()
    step = 0.02 * pixels.grad / pixels.grad.abs().amax((1, 2, 3), keepdim=True)
    assert (judge.tensor((rows + step).clamp(-1, 1), [Brief("x")] * 4) > before).all()


def test_statistics_mean_what_their_names_say() -> None:
    clean = recipe.pixels([finished(BIG[0][0])], SIDE)
    noisy, grey = recipe.pixels(damaged("noise", 1)[:1], SIDE), torch.zeros(1, 3, SIDE, SIDE)
    rows = statistics(torch.cat([clean, noisy, grey, grey + 1, grey - 1]))
    column = {name: rows[:, i] for i, name in enumerate(NAMES)}
    assert rows.shape == (5, len(NAMES))
    assert torch.isfinite(rows).all()
    assert column["noise"][1] > column["noise"][0] + 1
    assert column["colourfulness"][0] > column["colourfulness"][2] + 0.05
    np.testing.assert_allclose(column["brightness"][2:], [0.5, 1, 0], atol=1e-5)
    assert column["dark"][4] > 0.9 > 0.1 > column["dark"][3]
    assert column["flat"][2] > 0.9 > column["flat"][1]


def test_the_starter_brings_it_and_folders_without_it_still_load(small: starter.Starter) -> None:
    assert (starter.path() / "aesthetic" / "model.safetensors").stat().st_size < 300_000
    assert "aesthetic" not in small.rewards


def test_serving_uses_the_weights_of_the_starter() -> None:
    from eyecatch.core.defaults import SCORING

    parts = starter.load(engaging=True)
    rewards = parts.rewards
    assert parts.judge is not None
    assert {*rewards, "reliability", "clicks"} == {SCORING.preference.name, *(s.name for s in SCORING.stored)}
    for name in ("aesthetic", "engagement"):
        scale = next(s for s in SCORING.stored if s.name == name)
        values = rewards[name]([finished(big) for big, _ in BIG], [Brief("x")] * len(BIG))
        assert (np.abs(values - scale.mean) < 5 * scale.deviation).all()


def test_a_foreign_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        AestheticHead.from_pretrained(tmp_path)
    AestheticHead(8).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong, message in (
        ({"hidden": 9}, "does not match its config"),
        ({"statistics": ["hue"]}, "of other statistics"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(CheckpointError, match=message):
            AestheticHead.from_pretrained(tmp_path)


def snapshots(folder: Path) -> Path:
    """Pictures under the names of photographs of the packages, as if these were unpacked here."""
    rng = np.random.default_rng(5)
    names = " ".join(photographs.PHOTOGRAPHS.values()).split()
    folder.mkdir()
    for name in names[:16]:
        noise = Image.fromarray(rng.integers(0, 256, (160, 240, 3)).astype(np.uint8))
        noise.save(folder / f"{name}.png")  # noise does not compress: files above the size of an icon
    return folder


def test_photographs_are_found_by_name_and_some_are_held_out(tmp_path: Path) -> None:
    folder = snapshots(tmp_path / "camera")
    Image.new("RGB", (640, 480)).save(folder / "screenshot.png")
    taken = photographs.find(folder)
    assert len(taken) == 16
    held = {name for name in taken if photographs.held_out(name)}
    assert 0 < len(held) < len(taken)
    rng = np.random.default_rng(0)
    part = photographs.cover(photographs.load(next(iter(taken.values()))), rng, 64)
    assert part.size == (64, 64)


def test_a_folder_without_the_photographs_names_the_packages(tmp_path: Path) -> None:
    with pytest.raises(IcgError, match=r"holds 0 of .* photographs; allowed: the unpacked packages lomiri-wallpapers"):
        photographs.find(tmp_path)


FIT, CONFIG = Fit(steps=30, lr=3e-3, batch=32, warmup=5, save_every=10), recipe.AestheticTraining(24, 4, 4, 1, parts=20)


@pytest.mark.slow
def test_the_recipe_learns_reports_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    art = [s.sprites["3d"] for s in SUBJECTS]
    triples = recipe.draw(recipe.composed(SUBJECTS, [0, 1, 2], 12, 0), art, 4, 0)
    assert triples.measured.shape == (48, 3, WIDTH)
    assert not triples.photograph.any()
    whole = recipe.fitted(tmp_path / "a", triples, FIT, CONFIG)
    untrained = recipe.fitted(tmp_path / "c", triples, Fit(steps=1, lr=0.0, batch=8), CONFIG)
    shuffled = recipe.fitted(tmp_path / "d", triples, FIT, CONFIG, shuffled=True)
    learned, none = (recipe.right(recipe.scored(h, triples)) for h in (whole, untrained))
    assert learned > max(none, recipe.right(recipe.scored(shuffled, triples)), 0.6)
    camera = snapshots(tmp_path / "camera")
    report = recipe.run(tmp_path / "run", SUBJECTS, FIT, CONFIG, camera)
    monkeypatch.setattr(recipe, "ranking_loss", lambda _: pytest.fail("trained again"))
    monkeypatch.setattr(recipe, "compose", lambda *_: pytest.fail("drawn again"))
    again = recipe.run(tmp_path / "run", SUBJECTS, FIT, CONFIG, camera)
    assert report == again == json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(report["kinds"]) == set(DAMAGES)
    assert {"composed", "photographs"} < set(report)
    one = rewards.load("aesthetic", tmp_path / "run" / "aesthetic")
    assert np.ptp(one([finished(b) for b, _ in BIG], [Brief("x")] * len(BIG))) > 0


def test_ties_count_half() -> None:
    assert recipe.right(np.array([[3.0, 2.0, 1.0]])) == 1
    assert recipe.right(np.array([[1.0, 2.0, 3.0]])) == 0
    assert recipe.right(np.zeros((2, 3))) == 0.5
