"""Fine-tuning: only the method's tensors are trained, a killed run ends like an uninterrupted one, and the pipeline is unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, IcgError
from icg.products import record
from icg.products.library import VECTORS, Library
from icg.products.record import DREAMBOOTH, FULL, METHODS, TEXTUAL_INVERSION, training
from icg.starter import Starter
from icg.train.products import fine_tune as verb
from icg.train.products.art import THINGS, pictures
from icg.train.products.tuning import DEFAULTS, Settings, Tuner
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")
SIZE = (64, 64)
SHOWN = pictures(THINGS[0], 3, side=64)


def settings(method: str, **more: Any) -> Settings:
    return Settings(
        method, **{"steps": 4, "batch": 2, "rank": 2, "vectors": 2, "class_pictures": 2, "size": SIZE} | more
    )


def cover(pipeline: CoverPipeline, id: str = "") -> np.ndarray:
    return np.asarray(pipeline([Brief("a {product}", seed=1, steps=2, size=SIZE, product_id=id)])[0], int)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("sana", TEXTUAL_INVERSION),
        ("sana", DREAMBOOTH),
        *(
            pytest.param(name, method, marks=pytest.mark.slow)
            for name, method in (("sana", FULL), ("sd15", DREAMBOOTH))
        ),
    ],
)
def test_killed_and_resumed_as_if_unbroken(
    covers: Callable[[str], CoverPipeline], tmp_path: Path, name: str, method: str
) -> None:
    pipeline, config = covers(name), settings(method, steps=4)
    before, plain = pipeline.base, cover(pipeline)
    unbroken = Tuner(pipeline, "teapot", SHOWN, config).run(tmp_path / "a")
    Tuner(pipeline, "teapot", SHOWN, config).run(tmp_path / "b", until=2)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("b/class/*.png")}
    resumed = Tuner(pipeline, "teapot", SHOWN, config).run(tmp_path / "b")
    assert unbroken.keys() == resumed.keys()
    assert len(unbroken) > 0
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    assert len(times) == (0 if method == TEXTUAL_INVERSION else 2)
    assert all(path.stat().st_mtime_ns == at for path, at in times.items()), "class pictures are drawn once"
    assert np.array_equal(cover(pipeline), plain)
    assert covers(name).base == before
    fresh = covers(name)
    assert {n: p.shape for n, p in pipeline.family.denoiser.named_parameters()} == {
        n: p.shape for n, p in fresh.family.denoiser.named_parameters()
    }


def test_each_method_learns_its_own_weights(covers: Callable[[str], CoverPipeline]) -> None:
    pipeline = covers("sana")
    learned = {}
    for method in METHODS:
        tuner = Tuner(pipeline, "teapot", SHOWN, settings(method))
        with tuner.learning() as model:
            learned[method] = sum(p.numel() for p in model.parameters() if p.requires_grad)
            tuner.loss(np.random.default_rng(0))["loss"].backward()
            # B of a low-rank pair begins at zero, so that A has no gradient yet.
            assert sum(p.grad is not None and bool(p.grad.any()) for p in model.parameters()) > 0
            others = [pipeline.vlm, pipeline.adapter, pipeline.family.vae]
            assert all(p.grad is None for part in others for p in part.parameters())
    whole = sum(p.numel() for p in pipeline.family.denoiser.parameters())
    assert learned[TEXTUAL_INVERSION] == 2 * pipeline.vlm.get_input_embeddings().weight.shape[1]
    assert learned[TEXTUAL_INVERSION] < learned[DREAMBOOTH] < learned[FULL] == whole


def test_the_prior_is_in_the_loss(covers: Callable[[str], CoverPipeline], tmp_path: Path) -> None:
    tuner = Tuner(covers("sana"), "teapot", SHOWN, settings(DREAMBOOTH, prior_weight=2.0))
    tuner.class_pictures(tmp_path)
    with tuner.learning(), torch.no_grad():
        losses = tuner.loss(np.random.default_rng(0))
    assert float(losses["loss"]) == pytest.approx(float(losses["product"] + 2 * losses["class"]))
    (tmp_path / "000.png").unlink()
    assert tuner.class_pictures(tmp_path) == 2
    assert (tmp_path / "000.png").is_file()
    bare = Tuner(covers("sana"), "teapot", SHOWN, settings(DREAMBOOTH, prior=False))
    with bare.learning(), torch.no_grad():
        assert set(bare.loss(np.random.default_rng(0))) == {"loss", "product"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"method": "magic"}, "method='magic'; allowed: textual-inversion, dreambooth, dreambooth-full"),
        ({"steps": -1}, "steps=-1; allowed: 0..20000"),
        ({"rank": 0}, "rank=0; allowed: 1..256"),
        ({"lr": 2.0}, "lr=2.0; allowed: 0..1"),
        ({"class_pictures": 0}, "class_pictures=0"),
    ],
)
def test_settings_out_of_range(values: dict[str, Any], named: str) -> None:
    with pytest.raises(IcgError, match=named):
        Settings(**values)


def test_settings_not_given_are_the_methods_own() -> None:
    for method in METHODS:
        assert (Settings(method).steps, Settings(method).lr) == DEFAULTS[method]
    assert not Settings(TEXTUAL_INVERSION, prior=True).prior, "nothing to preserve"


@pytest.fixture
def shop(small: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., record.Record]:
    """The verb on the smoke-trained starter, with three pictures of one thing."""
    monkeypatch.setattr(verb.pictures, "ALIKE", -1.0)  # measured for the shipped starter's embedding, not for this one
    for n, picture in enumerate(SHOWN):
        picture.save(tmp_path / f"{n}.png")

    def make(
        id: str = "teapot-1", kind: str = "teapot", tell: Callable[[str], None] = len, **more: Any
    ) -> record.Record:
        config = settings(more.pop("method", TEXTUAL_INVERSION), **more)
        return verb.fine_tune(tmp_path / "products", small, id, kind, [tmp_path], config, tell=tell)

    return make


def test_a_trained_product_is_drawn(shop: Callable[..., record.Record], small: Starter, tmp_path: Path) -> None:
    messages: list[str] = []
    products = {method: shop(method.replace("textual-", ""), method=method, tell=messages.append) for method in METHODS}
    library = Library(tmp_path / "products")
    assert library.ids() == sorted(m.replace("textual-", "") for m in METHODS)
    plain = cover(small.pipeline)
    small.pipeline.products = library
    try:
        covers = [cover(small.pipeline, id).tobytes() for id in library.ids()]
    finally:
        small.pipeline.bare()
        small.pipeline.products = None
    assert len({plain.tobytes(), *covers}) == 4
    assert np.array_equal(cover(small.pipeline), plain)
    one = products[DREAMBOOTH]
    assert (one.kind, one.steps, one.prior, len(one.pictures)) == ("teapot", 4, True, 3)
    assert one.base == small.pipeline.base
    assert one.seconds > 0
    assert one.memory_mb > 0
    assert not list((tmp_path / "products").glob(".*@*")), "the training's working files are deleted"
    assert any("about" in line and "minutes" in line for line in messages)
    assert any("prior preservation: 2 pictures of 'a teapot'" in line for line in messages)


def test_a_refused_training_leaves_no_files(shop: Callable[..., record.Record], tmp_path: Path) -> None:
    for call, named in [
        (lambda: shop("No Id"), "product_id='No Id'"),
        (lambda: shop(kind=" "), "kind=''; allowed: the product's class in words"),
        (lambda: shop(kind="a {product}"), "kind='a {product}'"),
        (lambda: shop(kind="x" * 65), "allowed: the product's class in words"),
    ]:
        with pytest.raises(IcgError) as refused:
            call()
        assert named in str(refused.value)
        assert not (tmp_path / "products").exists()
    with training(tmp_path / "products", "teapot-1"), pytest.raises(IcgError, match="is being trained already"):
        shop()


def test_an_interrupted_run_continues_and_other_settings_restart_it(
    shop: Callable[..., record.Record], small: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = shop()
    record.remove(tmp_path / "products", "teapot-1")
    whole = Tuner.run
    monkeypatch.setattr(Tuner, "run", lambda self, folder: whole(self, folder, until=2) and 1 / 0)
    for seed in (1, 0):
        with pytest.raises(ZeroDivisionError):
            shop(seed=seed)
    (left,) = (tmp_path / "products").glob(".teapot-1@*")
    assert json.loads((left / "config.json").read_text())["config"]["seed"] == 0, "the other run's folder was deleted"
    assert record.ids(tmp_path / "products") == []
    monkeypatch.setattr(Tuner, "run", whole)
    assert shop().key == want.key
    product = Library(tmp_path / "products").get("teapot-1")
    assert product.vectors is not None
    assert product.vectors.shape == product.tensors[VECTORS].shape == (2, small.pipeline.adapter.config.vlm)


def test_a_size_it_cannot_draw(covers: Callable[[str], CoverPipeline]) -> None:
    with pytest.raises(BriefError, match=r"size=.* allowed: multiples of"):
        Tuner(covers("sana"), "teapot", [Image.new("RGB", (32, 32))] * 3, replace(settings(DREAMBOOTH), size=(66, 64)))
