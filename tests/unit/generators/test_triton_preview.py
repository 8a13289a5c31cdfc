"""Previews on the wire: what a server may send, and what is garbage."""

import numpy as np
import pytest
from eyecatch.core.types import Pixels
from eyecatch.generators import triton_wire as wire
from eyecatch.generators.local import LocalGenerator
from eyecatch.generators.triton import TritonGenerator, TritonOptions

from tests.triton import Triton
from tests.unit.generators.test_local import brief
from tests.unit.generators.test_triton import SPACE
from tests.unit.generators.test_triton_garbage import PIXELS, answer

PROGRESS = "INT64", np.array([2, 4])


def test_a_preview_comes_with_progress() -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    result = answer(progress=PROGRESS, preview=("UINT8", picture))
    assert wire.progress(result) == (2, 4)
    shown = wire.preview(result)
    assert shown is not None
    assert np.array_equal(shown, picture)


def test_a_server_without_previews_sends_none() -> None:
    assert wire.preview(answer(progress=PROGRESS)) is None


@pytest.mark.parametrize(
    ("datatype", "array"),
    [
        ("FP32", np.zeros((2, 4, 3), np.float32)),
        ("INT64", np.zeros((2, 4, 3), np.int64)),
        ("UINT8", np.zeros((2, 4), np.uint8)),
        ("UINT8", np.zeros((2, 4, 4), np.uint8)),
        ("UINT8", np.zeros((3, 2, 4), np.uint8)),
        ("UINT8", np.zeros((1, 2, 4, 3), np.uint8)),
        ("UINT8", np.zeros((0, 4, 3), np.uint8)),
        ("UINT8", np.zeros((wire.MAX_PREVIEW + 1, 1, 3), np.uint8)),
        ("UINT8", np.zeros((1, wire.MAX_PREVIEW + 1, 3), np.uint8)),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else value,
)
def test_what_is_no_small_picture_is_garbage(datatype: str, array: np.ndarray) -> None:
    with pytest.raises(wire.Broken, match=r"garbage: preview of .*; allowed: uint8 \(h, w, 3\) of at most 512"):
        wire.preview(answer(progress=PROGRESS, preview=(datatype, array)))


def test_bytes_that_do_not_fit_their_shape_are_garbage() -> None:
    torn = answer(progress=PROGRESS, preview=PIXELS)
    torn.get_response().raw_output_contents[1] = b"x"
    with pytest.raises(wire.Broken, match="preview"):
        wire.preview(torn)


async def test_a_real_server_shows_its_first_cover_to_those_who_look(triton_server: Triton) -> None:
    generator, local = TritonGenerator([triton_server.address], TritonOptions(60.0, 2, SPACE, 0.2)), LocalGenerator()
    calls, ours, updates = list[Pixels](), list[Pixels](), list[int]()
    try:
        request = [brief(1, 4), brief(2, 4)]
        theirs = await generator.generate(request, lambda step, _: updates.append(step), calls.append)
        assert [m.image for m in theirs] == [
            m.image for m in await local.generate(request, lambda *_: None, ours.append)
        ]
        assert len(calls) == 2
        for picture, local_one in zip(calls, ours, strict=True):
            assert np.array_equal(picture, local_one)
        assert updates == [1, 2, 3, 4]
        await generator.generate(request, lambda *_: None)
        assert len(calls) == 2
    finally:
        await generator.close()
        await local.close()
