"""The in-process generator shows its first cover while it is noise, to those who look."""

import io

import numpy as np
from eyecatch.core.types import Pixels
from eyecatch.generators.local import LocalGenerator
from PIL import Image

from tests.unit.generators.test_local import brief


async def test_the_first_cover_is_seen_while_it_is_noise() -> None:
    generator, calls, updates = LocalGenerator(), list[Pixels](), list[int]()
    try:
        request = [brief(1, 8), brief(2, 8)]
        first, second = await generator.generate(request, lambda step, _: updates.append(step), calls.append)
        assert [(p.shape, p.dtype) for p in calls] == [((16, 16, 3), np.uint8)] * 2, "after four and six of eight steps"
        assert updates == [*range(1, 9)]
        own, other = (
            np.asarray(Image.open(io.BytesIO(new.image)).resize((16, 16), Image.Resampling.BOX), float)
            for new in (first, second)
        )
        for picture in calls:
            like, unlike = (np.corrcoef(picture.ravel(), cover.ravel())[0, 1] for cover in (own, other))
            assert like > 0.8
            assert like > unlike + 0.1
        unseen = await generator.generate(request, lambda *_: None)
        assert [m.image for m in unseen] == [first.image, second.image], "looking changes nothing"
        assert len(calls) == 2
    finally:
        await generator.close()
