"""The measure of spoiled places: damage raises it, and any picture has a value."""

import json
from pathlib import Path

import eyecatch
import numpy as np
import pytest
from icg.brief import Brief
from icg.compose.cover import compose
from icg.compose.layout import PLACE
from icg.data.grounds import BACKDROPS, PALETTES, ground
from icg.errors import CheckpointError
from icg.gates.artifacts import artifacts, load, statistics
from icg.gates.gates import ARTIFACTS
from icg.pictures import over_white
from icg.train.artifacts import recipe
from icg.train.artifacts.damage import banded, haloed, smeared
from PIL import Image
from safetensors.numpy import save_file

from tests.unit.icg.gates.test_fidelity import figure, poster

SAMPLE = Path(eyecatch.__file__).parent / "sample" / "covers"


@pytest.mark.parametrize("damage", [banded, haloed, smeared])
def test_damage_raises_it(damage: recipe.Damage) -> None:
    rng = np.random.default_rng(0)
    pictures = [poster(n, (256, 384)) for n in range(6)] + [figure()]
    pairs = [(artifacts(picture), artifacts(damage(picture, rng)[0])) for picture in pictures]
    clean, bad = np.mean(pairs, axis=0)
    assert bad > clean + 0.03
    assert sum(b >= a for a, b in pairs) >= len(pairs) - 2


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (16, 16), (2000, 30)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_any_picture_has_a_value(size: tuple[int, int], mode: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8))
    for picture in (noise.convert(mode), Image.new(mode, size)):
        assert 0 <= artifacts(picture) <= 1


def test_it_does_not_depend_on_the_size_of_a_large_picture() -> None:
    picture = poster(1, (768, 1152))
    small = picture.resize((256, 384), Image.Resampling.LANCZOS)
    assert artifacts(picture) == pytest.approx(artifacts(small), abs=0.05)
    assert statistics(picture).shape == statistics(small).shape


def test_damage_comes_with_its_place() -> None:
    rng = np.random.default_rng(1)
    for damage in (banded, haloed, smeared):
        picture = poster(2)
        bad, mask = damage(picture, rng)
        change = np.abs(np.asarray(bad, int) - np.asarray(picture, int)).max(-1)
        assert mask.shape == change.shape
        assert mask.any()
        assert change[mask].mean() > 4 * change[~mask].mean()


def test_another_file_is_refused(tmp_path: Path) -> None:
    save_file({"mean": np.zeros(3, np.float32)}, tmp_path / "artifacts.safetensors")
    with pytest.raises(CheckpointError, match="allowed: those of icg train artifacts"):
        load(tmp_path)


@pytest.mark.long
def test_the_recipe_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.main(["--smoke", "--out", str(tmp_path)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["places"] > 100
    assert load(tmp_path)["mean"].shape == load()["mean"].shape


@pytest.mark.parametrize("style", ["3d", "painted", "flat", "ink"])
def test_clean_covers_of_every_style_pass_on_every_ground(style: str) -> None:
    for n, item in enumerate(("fox", "hamburger", "rocket", "guitar")):
        picture = Image.open(SAMPLE.parent / "images" / f"{item}-{style}.webp").convert("RGBA")
        for backdrop in BACKDROPS[n::4]:
            behind = ground([*PALETTES][n], backdrop, n, 256)
            cover = compose(Brief(item, product=picture, ground=True, output=(256, 256)), behind, PLACE)
            assert 1 - max(0.0, artifacts(cover) - artifacts(over_white(picture))) >= ARTIFACTS, (item, backdrop)
