"""Several products in one batch: each cover equals that alone; weights are loaded on demand and dropped when removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, CheckpointError
from icg.products import record
from icg.products.library import Library
from icg.products.record import DREAMBOOTH, FULL, TEXTUAL_INVERSION
from icg.scheduler.engine import StepScheduler
from icg.scheduler.request import Share

from tests.unit.icg.pipelines import SIZE, brief, pixels
from tests.unit.icg.products.random_products import store_product, tensors_of
from tests.unit.icg.products.test_lora import saved

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")
Covers, Opened = Callable[[str], CoverPipeline], Callable[..., StepScheduler]
METHODS = {"one": DREAMBOOTH, "two": DREAMBOOTH, "words": TEXTUAL_INVERSION}


@pytest.fixture
def served(tmp_path: Path, covers: Covers, opened: Opened) -> Callable[..., StepScheduler]:
    """A scheduler that knows the products of tmp_path."""

    def make(name: str = "sana", **options: object) -> StepScheduler:
        for n, (id, method) in enumerate(METHODS.items()):
            store_product(tmp_path, covers(name), id, method, seed=n)
        scheduler = opened(name, **options)
        scheduler._pipeline.products = Library(tmp_path)
        return scheduler

    return make


def direct(covers: Covers, name: str, folder: Path, request: Brief) -> np.ndarray:
    pipeline = covers(name)
    pipeline.products = Library(folder)
    return np.asarray(pipeline([request])[0], int)


@pytest.mark.parametrize("name", ["sana", *(pytest.param(n, marks=pytest.mark.slow) for n in ("sd15", "sdxl"))])
def test_each_product_is_drawn_as_it_is_alone(
    served: Callable[..., StepScheduler], covers: Covers, tmp_path: Path, name: str
) -> None:
    scheduler = served(name)
    ids = ["", *METHODS]
    alone = {id: pixels(scheduler.submit(brief(product_id=id))) for id in ids}
    with scheduler._wake:
        futures = {(id, n): scheduler.submit(brief(n, product_id=id)) for n in (0, 1, 2) for id in ids}
    for id in ids:
        image = pixels(futures[id, 0])
        assert np.array_equal(image, alone[id])
        assert np.abs(image.astype(int) - direct(covers, name, tmp_path, brief(product_id=id))).max() <= 1
    assert len({image.tobytes() for image in alone.values()}) == len(ids)


def test_few_are_on_the_device_and_come_back_the_same(served: Callable[..., StepScheduler]) -> None:
    scheduler = served(products=1)
    ids = ["one", "two", "", "one", "one"]
    images = [pixels(scheduler.submit(brief(product_id=id))) for id in ids]
    assert np.array_equal(images[0], images[3])
    assert not np.array_equal(images[0], images[1])
    assert list(scheduler._loras._products) == [Library(scheduler._pipeline.products.folder).get("one").key]
    before = scheduler._loras.loaded
    pixels(scheduler.submit(brief(product_id="one")))
    assert scheduler._loras.loaded == before
    with scheduler._wake:
        mixed = [scheduler.submit(brief(product_id=id)) for id in ("one", "two", "one", "")]
    for future, n in zip(mixed, (0, 1, 0, 2), strict=True):
        assert np.array_equal(pixels(future), images[n])


def test_trained_anew_and_removed(served: Callable[..., StepScheduler], covers: Covers, tmp_path: Path) -> None:
    scheduler = served()
    for id, method in (("one", DREAMBOOTH), ("words", TEXTUAL_INVERSION)):
        before = pixels(scheduler.submit(brief(product_id=id)))
        store_product(tmp_path, covers("sana"), id, method, seed=7)
        after = pixels(scheduler.submit(brief(product_id=id)))
        assert not np.array_equal(before, after)
        record.remove(tmp_path, id)
        with pytest.raises(BriefError, match=f"product_id='{id}'; allowed: "):
            scheduler.submit(brief(product_id=id))


def test_a_request_keeps_the_product_it_came_for(
    served: Callable[..., StepScheduler], covers: Covers, tmp_path: Path
) -> None:
    scheduler = served()
    expected = {id: pixels(scheduler.submit(brief(product_id=id))) for id in METHODS}
    with scheduler._wake:
        futures = {id: scheduler.submit(brief(product_id=id, title="kettle")) for id in METHODS}
        again = {id: scheduler.submit(brief(product_id=id)) for id in METHODS}
        for id, method in METHODS.items():
            store_product(tmp_path, covers("sana"), id, method, seed=9)
            record.remove(tmp_path, id)
    for id in METHODS:
        assert np.array_equal(pixels(again[id]), expected[id])
        pixels(futures[id])


def test_refusals_name_the_field(
    served: Callable[..., StepScheduler], covers: Covers, opened: Opened, tmp_path: Path
) -> None:
    scheduler = served()
    store_product(tmp_path, covers("sana"), "whole", FULL)
    with pytest.raises(
        BriefError, match=r"product_id='whole' changes all weights \(dreambooth-full\); allowed where covers share"
    ):
        scheduler.submit(brief(product_id="whole"))
    with pytest.raises(BriefError, match="product_id='gone'; allowed: one, two, whole, words"):
        scheduler.submit(brief(product_id="gone"))
    with pytest.raises(BriefError, match="product_id='one'; allowed: '', this generator has no products"):
        opened("sana").submit(brief(product_id="one"))
    store_product(tmp_path, covers("sana"), "other", base="0" * 64, base_name="another")
    with pytest.raises(
        CheckpointError, match=r"product_id='other' was trained on another \(000000000000\); allowed: products of this"
    ):
        scheduler.submit(brief(product_id="other"))


def test_weights_that_do_not_fit_fail_alone(
    served: Callable[..., StepScheduler], covers: Covers, tmp_path: Path
) -> None:
    scheduler = served()
    foreign = {name: value[..., :1].contiguous() for name, value in tensors_of(covers("sana"), DREAMBOOTH, 3).items()}
    store_product(tmp_path, covers("sana"), "odd", tensors=foreign)
    expected = pixels(scheduler.submit(brief(product_id="one")))
    with scheduler._wake:
        bad, good = scheduler.submit(brief(product_id="odd")), scheduler.submit(brief(product_id="one"))
    with pytest.raises(CheckpointError, match="product_id='odd': its weights are not for this denoiser; allowed"):
        bad.result(60)
    assert np.array_equal(pixels(good), expected)


def test_beside_low_rank_weights_that_were_announced(covers: Covers, tmp_path: Path) -> None:
    store_product(tmp_path / "products", covers("sana"), "one")
    pipeline = covers("sana")
    pipeline.products = Library(tmp_path / "products")
    pipeline([brief(product_id="one")])  # its own weights are not applied to all
    scheduler = StepScheduler(pipeline, (SIZE,), loras={"aligned": saved(covers("sana"), tmp_path / "lora", 1)})
    try:
        options = {"lora": "aligned"}, {}, {}
        ids = "", "one", ""
        alone = [
            pixels(scheduler.submit(brief(product_id=id), **options)) for id, options in zip(ids, options, strict=True)
        ]
        with scheduler._wake:
            futures = [
                scheduler.submit(brief(product_id=id), **kwargs) for id, kwargs in zip(ids, options, strict=True)
            ]
        assert all(np.array_equal(pixels(f), a) for f, a in zip(futures, alone, strict=True))
        assert len({image.tobytes() for image in alone}) == 3
        with pytest.raises(BriefError, match="lora='aligned' with product_id='one'; allowed: one of them"):
            scheduler.submit(brief(product_id="one"), lora="aligned")
    finally:
        scheduler.close()


def test_shared_steps_are_the_products_own(served: Callable[..., StepScheduler]) -> None:
    scheduler = served(shared=0.5)
    with scheduler._wake:
        futures = {id: scheduler.submit(brief(product_id=id), share=Share(3)) for id in ("", *METHODS)}
    together = {id: pixels(future) for id, future in futures.items()}
    assert len({image.tobytes() for image in together.values()}) == len(together)
    lone = pixels(scheduler.submit(brief(product_id="one"), share=Share(3)))
    assert np.array_equal(lone, together["one"])


def test_the_pipeline_takes_one_product_a_call_and_is_itself_again(covers: Covers, tmp_path: Path) -> None:
    pipeline = covers("sana")
    store_product(tmp_path, pipeline, "whole", FULL, seed=1)
    store_product(tmp_path, pipeline, "one", seed=2)
    plain = np.asarray(pipeline([brief()])[0])
    pipeline.products = Library(tmp_path)
    drawings = {id: np.asarray(pipeline([brief(product_id=id)])[0]) for id in ("whole", "one", "", "whole")}
    assert np.array_equal(drawings[""], plain)
    assert not np.array_equal(drawings["whole"], plain)
    assert not np.array_equal(drawings["whole"], drawings["one"])
    pipeline.bare()
    assert np.array_equal(np.asarray(pipeline([brief()])[0]), plain)
    assert np.array_equal(np.asarray(pipeline([brief(product_id="one")])[0]), drawings["one"])
    with pytest.raises(BriefError, match=r"product_id=\['', 'one'\] in one call"):
        pipeline([brief(), brief(product_id="one")])
    one, other = pipeline.start([brief(product_id="one")]), pipeline.start([brief()])
    while pipeline.step(one) | pipeline.step(other):  # two calls with the step API
        continue
    assert np.array_equal(np.asarray(pipeline.finish(one)[0]), drawings["one"])
    assert np.array_equal(np.asarray(pipeline.finish(other)[0]), plain)


def test_digests_know_the_product() -> None:
    plain, one, two = (Brief("a kettle", product_id=id) for id in ("", "one", "two"))
    assert len({b.digest() for b in (plain, one, two)}) == len({b.item_digest() for b in (plain, one, two)}) == 3
    assert plain.digest() == "28435c9d6b664cdbd1390e2fb882a5cc24d8937c12073194a147eb96d0130c37", (
        "as before there were products"
    )
