"""Figures of grounds: they tell a whole pattern from one that was wiped around the subject."""

import numpy as np
from icg.brief import Brief
from icg.compose.cover import compose, set_down
from icg.compose.layout import Place, clear
from icg.data.grounds import ground
from icg.evaluate.grounds import measure, strengths, whole
from icg.starter import Starter
from PIL import Image, ImageDraw, ImageFilter

from tests.unit.icg.draw.test_grounds import disc


def cover(brief: Brief, picture: Image.Image) -> Image.Image:
    return compose(brief, picture, set_down(brief, Place(0.6, 0.5, 0.5)))


def test_a_pattern_that_was_wiped_around_the_subject_is_noticed() -> None:
    brief = Brief("disc", product=disc(), ground=True, output=(256, 256))
    picture = ground("candy", "dots", 3, 256)
    wiped = np.zeros((48, 48), bool)
    wiped[6:42, 6:42] = True
    assert whole([cover(brief, picture)], [brief]) > 0.6
    assert whole([cover(brief, clear(picture, wiped))], [brief]) < 0.4
    assert np.isnan(whole([picture], [Brief("no subject")]))


def test_smeared_grounds_have_fewer_edges() -> None:
    picture = ground("ocean", "checks", 1, 128)
    assert strengths(picture.filter(ImageFilter.GaussianBlur(3))).mean() < 0.6 * strengths(picture).mean()


def test_an_adapter_without_grounds_has_no_figures_of_them(small: Starter) -> None:
    assert measure(small.pipeline, None, None, np.zeros((0, 64)), 3, 0) == {}  # type: ignore[arg-type]


def test_edges_of_a_subject_do_not_count_as_a_pattern_of_its_ground() -> None:
    plain = Image.new("RGB", (256, 256), "pink")
    brief = Brief("disc", product=disc(), ground=True, output=(256, 256))
    assert np.isnan(whole([cover(brief, plain)], [brief])), "a plain ground has none to lose"
    ImageDraw.Draw(plain).line((0, 20, 256, 20), fill="black")
    assert not np.isnan(whole([cover(brief, plain)], [brief]))
