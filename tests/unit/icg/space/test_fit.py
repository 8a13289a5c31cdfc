"""A space fitted on a small shop: what it finds, and what it says where there is nothing to find."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from icg import starter
from icg.brief import Brief
from icg.checkpoints import SHIPPED
from icg.cli import app
from icg.models.space import FittedSpace
from icg.rewards.clip import ClipRelevance
from icg.space.fit import CHANCE, FEW, NONE
from icg.space.run import run
from icg.users.crossing import Crossing
from PIL import Image
from typer.testing import CliRunner

from tests.unit.icg import tiny_judges
from tests.unit.icg.space import shop
from tests.unit.icg.space.conftest import Fit


def mean(values: list[float]) -> float:
    return float(np.mean(values))


def test_own_likes_rank_above_those_of_others(fit: Fit) -> None:
    assert mean(fit.fitted.figures["own"]) > 0.75
    assert mean(fit.fitted.figures["other"]) < 0.6
    assert fit.fitted.warning == ""


def test_categories_are_read_and_shuffled_ones_are_not(fit: Fit) -> None:
    assert mean(fit.fitted.figures["genre_auc"]) > 0.9
    assert 0.3 < mean(fit.fitted.figures["genre_auc_shuffled"]) < 0.7


def test_users_can_be_carried_over_to_the_checkpoints_own_space(fit: Fit) -> None:
    alike, others = (mean(fit.fitted.figures[name]) for name in ("crossing", "crossing_other"))
    assert alike > others + 0.3
    crossing = Crossing.load(fit.out, SHIPPED)
    assert crossing is not None
    assert np.array_equal(crossing.slopes, fit.fitted.crossing.slopes)  # type: ignore[union-attr]


def test_users_without_a_taste_give_a_warning(tmp_path: Path, fit: Fit) -> None:
    fitted, _ = run(shop.write(tmp_path / "shop", taste=False), tmp_path / "out", fit.encoder, seeds=2)
    assert fitted.warning == CHANCE
    assert abs(mean(fitted.figures["own"]) - 0.5) < 0.1
    assert json.loads((tmp_path / "out" / "report.json").read_text())["warning"] == CHANCE


@pytest.mark.parametrize(("users", "warning"), [(0, NONE), (1, FEW)])
def test_a_space_without_users_is_fitted_on_covers_alone(tmp_path: Path, fit: Fit, users: int, warning: str) -> None:
    fitted, _ = run(shop.write(tmp_path / "shop", users=users), tmp_path / "out", fit.encoder, seeds=1)
    assert fitted.warning == warning
    assert str(fitted.choice).startswith("principal components")
    assert ("preference" in fitted.scales) == (users > 0)


def test_relevance_at_chance_has_no_weight(fit: Fit) -> None:
    assert mean(fit.fitted.figures["titles_own"]) < 0.1, "the titles are numbers"
    assert fit.fitted.scales["relevance"]["weight"] == 0
    assert "weight" not in fit.fitted.scales["preference"]


def test_scales_are_those_of_the_rewards_on_these_covers(fit: Fit) -> None:
    scales = json.loads((fit.out / "scales.json").read_text())
    assert set(scales) == {"preference", "relevance", "aesthetic"}
    assert all(scale["deviation"] > 0 for scale in scales.values())


def test_covers_of_the_catalogue_are_in_its_domain_and_others_are_not(fit: Fit) -> None:
    from icg.models.joint import pixels

    space = FittedSpace.from_pretrained(fit.out, SHIPPED / "dual")
    own = [Image.open(fit.data / "covers" / f"{n}.png") for n in range(100)]
    stripes = np.indices((64, 64)).sum(0)[..., None] // 8 % 2 * np.array((255, 255, 0))
    strange = [Image.fromarray(stripes.astype(np.uint8))]
    inside = [space.projection.distances(space.features(pixels(p, space.side)).numpy()) for p in (own, strange)]
    assert np.mean(inside[0] <= space.projection.radius) > 0.9
    assert inside[1][0] > space.projection.radius


def test_the_folder_gives_the_rows_of_the_fit(fit: Fit) -> None:
    from icg.models.joint import JointEmbedding

    embedding = JointEmbedding.from_pretrained(SHIPPED, space=fit.out)
    image = Image.open(fit.data / "covers" / "0.png")
    rows = embedding.covers([image])
    expected = fit.fitted.projection.rows(embedding.features([image]).numpy())
    assert np.allclose(rows, expected, atol=1e-4)
    assert np.isclose(np.linalg.norm(rows), 1, atol=1e-5)


def test_ratings_are_behaviour_too(tmp_path: Path, fit: Fit) -> None:
    from icg.data.catalogue import RowReport
    from icg.space.source import read

    data = shop.write(tmp_path / "shop", items=8, users=0)
    rows = [
        ("7", "i1", "4.5", 1_700_000_020),
        ("7", "i0", "1", 1_700_000_010),
        ("9", "i2", "3", 1_700_000_005),
        ("9", "i3", "many", 1_700_000_005),
        ("9", "zz", "5", 1_700_000_006),
    ]
    shop.table(data / "ratings.csv", ("userId", "movieId", "rating", "timestamp"), rows)
    report = RowReport()
    source = read(data, report)
    assert source.kind == "ratings"
    assert source.behaviour.user.tolist() == [0, 0, 1]
    assert source.behaviour.cover.tolist() == [0, 1, 2]
    assert source.behaviour.weight.tolist() == [-1.5, 2.0, 0.0]
    assert dict(report.refused) == {"an unusable rating": 1, "a rating of another item": 1}


def test_a_clip_takes_the_place_of_the_dual_encoder_in_what_is_measured_and_in_what_is_served(
    tmp_path: Path, fit: Fit
) -> None:
    clip = tmp_path / "clip"
    tiny_judges.clip(clip)
    tiny_judges.tokenizer(clip)
    fitted, _ = run(fit.data, tmp_path / "out", fit.encoder, relevance=clip, seeds=1)
    assert fitted.scales["relevance"]["weight"] == 0, "a random CLIP is at chance"
    _, rewards = starter.judges(SHIPPED, space=tmp_path / "out")
    images = [Image.open(fit.data / "covers" / f"{n}.png") for n in range(40)]
    values = rewards["relevance"](images, [Brief(f"thing {n}") for n in range(40)])
    assert abs(values.mean() - fitted.scales["relevance"]["mean"]) < 3 * fitted.scales["relevance"]["deviation"]
    assert isinstance(rewards["relevance"], ClipRelevance)


def test_the_command_says_which_pictures_are_in_the_domain(tmp_path: Path, fit: Fit) -> None:
    (fit.data / "covers" / "broken.png").write_bytes(b"no picture")
    result = CliRunner().invoke(app, ["space", "domain", str(fit.data / "covers"), "--space", str(fit.out)])
    (fit.data / "covers" / "broken.png").unlink()
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout.splitlines()[-1])
    assert line["inside"] > 0.9
    assert (line["pictures"], line["refused"]) == (shop.ITEMS, 1)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    result = CliRunner().invoke(app, ["space", "domain", str(tmp_path / "noise.png")])
    assert json.loads(result.stdout.splitlines()[-1])["inside"] == 0, "the shipped space was fitted on drawn covers"
    result = CliRunner().invoke(app, ["space", "domain", str(tmp_path / "gone.png")])
    assert result.exit_code == 1
    assert "pictures=0 of 1" in result.output
