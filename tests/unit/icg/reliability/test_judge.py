"""The judge of product pictures and the reliability reward: results, saving, gradients and errors."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.errors import BriefError, CheckpointError, IcgError
from icg.reliability.config import CAPTION, DEPTH, PICTURE, PRODUCT, SALIENCY
from icg.reliability.cues import SmallCues
from icg.reliability.judge import Judge, Judgement, judgements, product_pixels
from icg.reliability.labels import Availability
from icg.reliability.reward import Reliability
from icg.reliability.rfnet import RFNet
from icg.rewards.base import BATCH, Reward, TensorReward, pixels
from icg.starter.rewards import load
from PIL import Image, ImageDraw

from tests.unit.icg.reliability.tiny_judge import SIDE, TINY, cut_out, judge, picture

CAPTIONS = ["a red mug, 9 cm", "sofa", "lamp"]


def judged(by: Judge, product: Image.Image | None = None, caption: str = "a mug", seed: int = 0) -> Judgement:
    return by([picture(seed)], [product or cut_out()], [caption])[0]


def values(judgement: Judgement) -> list[float]:
    return list(judgement.probabilities.values())


def test_a_probability_for_each_class_by_name() -> None:
    for classes in (5, 6):
        results = judge(classes=classes)([picture(n) for n in range(3)], [cut_out()] * 3, CAPTIONS)
        for one in results:
            assert list(one.probabilities) == [Availability(n).name.lower() for n in range(classes)]
            assert sum(values(one)) == pytest.approx(1, abs=1e-5)
            assert one.score == one.probabilities["available"]
        assert len({round(one.score, 4) for one in results}) == 3, "pictures have different results"


def test_a_saved_network_predicts_as_before(tmp_path: Path) -> None:
    model = judge(0.3, 1.7)
    model.save_pretrained(tmp_path)
    again = Judge.from_pretrained(tmp_path)
    assert judged(again) == judged(model)
    assert (again.threshold, again.temperature) == (0.3, 1.7)
    assert not any(p.requires_grad for p in again.parameters())
    assert not again.training
    model.save_pretrained(tmp_path / "half", torch.float16)
    assert values(judged(Judge.from_pretrained(tmp_path / "half"))) == pytest.approx(values(judged(model)), abs=5e-3)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = SmallCues((8, 16)).eval()
    assert judged(Judge.from_pretrained(tmp_path, other)) != judged(model), "other cues replace the saved ones"


def test_available_means_at_or_above_the_threshold() -> None:
    score = judged(judge()).score
    assert 0 < score < 1
    assert judged(judge(threshold=score)).available
    assert not judged(judge(threshold=math.nextafter(score, 1))).available
    assert judged(judge(threshold=0.0)).available
    assert not judged(judge(threshold=1.0)).available


def test_temperature_flattens() -> None:
    plain, warm = np.array(values(judged(judge()))), values(judged(judge(temperature=4.0)))
    expected = plain**0.25 / (plain**0.25).sum()
    np.testing.assert_allclose(warm, expected, rtol=1e-4)
    assert max(warm) < plain.max() - 0.05


@pytest.mark.parametrize(
    ("cues", "reached"),
    [
        ((PRODUCT, PICTURE, DEPTH, SALIENCY, CAPTION), True),
        ((PRODUCT, PICTURE, CAPTION), True),
        ((PRODUCT, DEPTH, CAPTION), True),
        ((PRODUCT, SALIENCY, CAPTION), True),
        ((PRODUCT, CAPTION), False),
    ],
)
def test_gradients_reach_the_picture_through_rfnet_and_through_the_cues(cues: tuple[str, ...], reached: bool) -> None:
    model, images = judge(cues=cues), pixels([picture(1, 64)], 64).requires_grad_()
    products = product_pixels(cut_out(), SIDE)[None].requires_grad_()
    logits = model.tensor(images, products, ["a mug"])
    logits.softmax(-1)[0, 0].backward()
    assert logits.shape == (1, 5)
    assert products.grad is not None
    assert products.grad.abs().max() > 0
    assert (images.grad is not None and images.grad.abs().max().item() > 0) == reached


def test_pictures_are_judged_in_batches_and_in_order() -> None:
    model, many = judge(), [picture(n) for n in range(BATCH + 2)]
    results = model(many, [cut_out()] * len(many), ["a mug"] * len(many))
    for n in (0, BATCH - 1, BATCH, BATCH + 1):
        assert values(results[n]) == pytest.approx(values(judged(model, seed=n)), abs=1e-5)


def test_a_judge_that_could_not_be_is_refused(tmp_path: Path) -> None:
    cues = SmallCues((8, 16))
    with pytest.raises(IcgError, match="coarse=True; allowed: a network of all classes"):
        Judge(RFNet.build(replace(TINY, coarse=True)), cues)
    net = RFNet.build(TINY)
    for threshold, temperature in [
        (-0.1, 1),
        (1.1, 1),
        (math.nan, 1),
        (0.5, 0),
        (0.5, -1),
        (0.5, math.nan),
        (0.5, math.inf),
    ]:
        with pytest.raises(IcgError, match=r"allowed: 0\.\.1, finite and above 0"):
            Judge(net, cues, threshold, temperature)
    judge().save_pretrained(tmp_path)
    RFNet.build(replace(TINY, coarse=True)).save_pretrained(tmp_path / "rfnet")
    with pytest.raises(CheckpointError, match="coarse"):
        Judge.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"threshold": 0.5}',
        '{"threshold": 2, "temperature": 1}',
        '{"threshold": "much", "temperature": 1}',
        '{"threshold": null, "temperature": 1}',
        '{"threshold": 0.5, "temperature": NaN}',
    ],
)
def test_a_folder_with_a_damaged_judge_json_is_refused(tmp_path: Path, text: str) -> None:
    judge().save_pretrained(tmp_path)
    (tmp_path / "judge.json").write_text(text)
    with pytest.raises(CheckpointError, match="judge"):
        Judge.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "gone", ["judge.json", "rfnet/model.safetensors", "cues/config.json", "cues/model.safetensors"]
)
def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path, gone: str) -> None:
    judge().save_pretrained(tmp_path)
    (tmp_path / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=Path(gone).name):
        Judge.from_pretrained(tmp_path)


def faint() -> Image.Image:
    image = cut_out()
    image.putalpha(image.getchannel("A").point(lambda v: v // 2))
    return image


@pytest.mark.parametrize(
    ("product", "message"),
    [
        (Image.new("RGB", (40, 40), "red"), "product is RGB"),
        (Image.new("RGBA", (40, 40), "red"), r"alpha 255\.\.255"),
        (Image.new("RGBA", (40, 40)), r"alpha 0\.\.0"),
        (faint(), r"alpha 0\.\.127"),
    ],
    ids=["without alpha", "opaque", "fully transparent", "nothing of it opaque"],
)
def test_a_picture_without_a_cut_out_is_refused(product: Image.Image, message: str) -> None:
    with pytest.raises(BriefError, match=f"{message}.*; allowed: "):
        judge()([picture(0)] * 2, [cut_out(), product], ["a mug"] * 2)


def test_a_cut_out_is_scaled_to_its_visible_part() -> None:
    small, large = product_pixels(cut_out((40, 60)), SIDE), product_pixels(cut_out((1200, 1800)), SIDE)
    assert small.shape == large.shape == (3, SIDE, SIDE)
    assert (small - large).abs().mean() < 0.05
    away = Image.new("RGBA", (400, 300))
    away.paste(cut_out((40, 60)), (350, 200))
    assert torch.equal(product_pixels(away, SIDE), small), "its place on its canvas does not matter"
    assert (small[:, 0, 0] - (127 / 127.5 - 1)).abs().max() < 1e-6, "grey behind it"
    red = (small[0] > 0.9) & (small[1] < -0.9)
    assert red.any(1).sum() >= 0.85 * SIDE, "as large as fits"


def test_several_things_in_one_cut_out_are_one_product() -> None:
    both = Image.new("RGBA", (100, 40))
    draw = ImageDraw.Draw(both)
    draw.rectangle((2, 2, 30, 38), fill="red")
    draw.rectangle((70, 2, 98, 38), fill="blue")
    tensor = product_pixels(both, SIDE)
    assert ((tensor[0] > 0.9) & (tensor[2] < -0.9)).any()
    assert ((tensor[2] > 0.9) & (tensor[0] < -0.9)).any()
    assert sum(values(judged(judge(), both))) == pytest.approx(1, abs=1e-5)


def test_text_on_the_product_is_part_of_it() -> None:
    plain = cut_out((80, 80), "white")
    labelled = plain.copy()
    ImageDraw.Draw(labelled).text((28, 32), "SALE", fill="black")
    first, second = judged(judge(), plain), judged(judge(), labelled)
    assert list(first.probabilities) == list(second.probabilities)
    assert first != second, "it has an effect"


def test_a_caption_may_be_empty_and_counts_where_it_is_not() -> None:
    model = judge()
    silent, with_caption = judged(model, caption=""), judged(model, caption="a huge sofa, 2.1 m high")
    assert sum(values(silent)) == pytest.approx(1, abs=1e-5)
    assert silent != with_caption
    assert judged(model, caption="a huge sofa, 2.1 m high " * 400) == judged(
        model, caption="a huge sofa, 2.1 m high " * 8
    )


@pytest.mark.parametrize(("images", "products", "captions"), [(2, 1, 2), (1, 2, 2), (2, 2, 1), (0, 1, 1)])
def test_as_many_of_each(images: int, products: int, captions: int) -> None:
    with pytest.raises(IcgError, match=f"images={images}, products={products}, captions={captions}"):
        judge()([picture(0)] * images, [cut_out()] * products, ["a mug"] * captions)
    assert judge()([], [], []) == []


def product_brief(**options: Any) -> Brief:
    return Brief(**{"title": "a mug", "product": cut_out(), "inpaint": True} | options)


UNKNOWN = product_brief(product=None, inpaint=False), product_brief(inpaint=False)


def test_only_scenes_around_a_product_are_judged() -> None:
    model = judge()
    briefs = [UNKNOWN[0], product_brief(), UNKNOWN[1], product_brief(title="sofa")]
    results = judgements(model, [picture(n) for n in range(4)], briefs)
    assert [results[0], results[2]] == [None, None]
    for n, caption in ((1, "a mug"), (3, "sofa")):
        one = results[n]
        assert one is not None
        assert values(one) == pytest.approx(values(judged(model, caption=caption, seed=n)), abs=1e-5)
    assert judgements(None, [picture(0)], [product_brief()]) == [None]
    assert judgements(model, [picture(0)] * 2, UNKNOWN) == [None, None]


def test_the_reward_is_the_probability_of_being_available(tmp_path: Path) -> None:
    model = judge()
    model.save_pretrained(tmp_path)
    reward = load("reliability", tmp_path)
    assert isinstance(reward, Reward)
    assert isinstance(reward, TensorReward)
    scores = reward([picture(n) for n in range(3)], [product_brief(), UNKNOWN[0], product_brief(title="sofa")])
    assert (scores.dtype, scores.shape) == (np.float32, (3,))
    assert math.isnan(scores[1])
    assert scores[[0, 2]] == pytest.approx([judged(model).score, judged(model, caption="sofa", seed=2).score], abs=1e-5)
    with pytest.raises(IcgError, match="images=1 with briefs=2"):
        reward([picture(0)], [product_brief()] * 2)


@pytest.mark.parametrize("side", [SIDE, 128])
def test_the_reward_of_tensors_is_that_of_pictures(side: int) -> None:
    reward, shown, briefs = (
        Reliability(judge()),
        [picture(n, side) for n in range(3)],
        [product_brief(title=t) for t in CAPTIONS],
    )
    images = pixels(shown, side).requires_grad_()
    scores = reward.tensor(images, briefs)
    np.testing.assert_allclose(scores.detach().numpy(), reward(shown, briefs), atol=2e-3)
    scores.sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().max(1).values > 0).all()


def test_the_reward_of_tensors_needs_products() -> None:
    reward = Reliability(judge())
    with pytest.raises(IcgError, match="inpaint=False in 1 of 2 briefs; allowed: a scene around a product in each"):
        reward.tensor(torch.zeros(2, 3, SIDE, SIDE), [product_brief(), UNKNOWN[0]])
    with pytest.raises(IcgError, match="allowed: floating"):
        reward.tensor(torch.zeros(1, 1, SIDE, SIDE), [product_brief()])


def test_judge_json_holds_threshold_and_temperature(tmp_path: Path) -> None:
    judge(0.25, 2).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "judge.json").read_text()) == {"threshold": 0.25, "temperature": 2.0}
