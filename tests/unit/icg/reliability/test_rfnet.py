"""RFNet: shapes, feature filter, small versions of real encoders, and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers as t
from icg.errors import CheckpointError, IcgError
from icg.reliability.config import CAPTION, CUES, IMAGES, PICTURE, PRODUCT, VARIANTS, RFNetConfig
from icg.reliability.encoders import SmallImage, SmallText, bucket, pieces
from icg.reliability.labels import Availability
from icg.reliability.public import ResNetImage, RobertaText, image_encoder, text_encoder
from icg.reliability.rfnet import Cues, FeatureFilter, RFNet
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SIDE, WORDS = 32, 8
TINY = replace(VARIANTS["small"], width=16, heads=2, fusions=1, side=SIDE, words=WORDS)
CAPTIONS = ("a large sofa", "lamp, 20 cm", "")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def tiny(**more: Any) -> RFNet:
    return RFNet.build(replace(TINY, **more)).eval()


def batch(net: RFNet, captions: tuple[str, ...] = CAPTIONS, side: int = SIDE) -> Cues:
    count = len(captions)
    pictures = (torch.rand(count, 3, side, side) * 2 - 1 for _ in range(2))
    flat = (torch.rand(count, 1, side, side) for _ in range(2))
    return Cues(*pictures, *flat, *(net.tokens(captions) if net.text else (None, None)))


def resnet(**more: Any) -> t.ResNetModel:
    shape = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 24], "depths": [1, 1, 1, 1], **more}
    return t.ResNetModel(t.ResNetConfig(**shape))


def roberta(folder: Path) -> t.RobertaModel:
    """A folder with model and tokenizer."""
    known = ["<s>", "<pad>", "</s>", "<unk>", "a", "large", "small", "sofa", "lamp"]
    words = Tokenizer(models.WordLevel({w: n for n, w in enumerate(known)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    t.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    narrow = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = t.RobertaModel(
        t.RobertaConfig(vocab_size=len(known), max_position_embeddings=20, **narrow), add_pooling_layer=False
    )
    model.save_pretrained(folder)
    return model


@pytest.fixture
def full(tmp_path: Path) -> RFNet:
    """A network on transformers' classes, started from folders."""
    resnet().save_pretrained(tmp_path / "resnet")
    roberta(tmp_path / "roberta")
    config = replace(TINY, image="resnet", text="roberta")
    return RFNet.build(config, tmp_path / "resnet", str(tmp_path / "roberta")).eval()


@pytest.mark.parametrize(("more", "outputs"), [({}, 5), ({"classes": 6}, 6), ({"coarse": True}, 2)])
def test_a_logit_a_class(more: dict[str, Any], outputs: int) -> None:
    net = tiny(**more)
    inputs = batch(net)
    logits, likely = net(inputs), net.probabilities(inputs)
    assert logits.shape == (3, outputs)
    torch.testing.assert_close(likely.sum(1), torch.ones(3))
    torch.testing.assert_close(likely, logits.softmax(1))
    assert logits.std(0).min() > 0, "pictures have different logits"


def test_classes_are_in_the_order_of_the_paper_and_then_of_rf1m() -> None:
    assert [kind.name.lower() for kind in sorted(Availability)] == [
        "available",
        "space_mismatch",
        "size_mismatch",
        "indistinctiveness",
        "shape_hallucination",
        "unsuitable",
    ]


@pytest.mark.parametrize("left_out", CUES)
def test_any_cue_may_be_left_out_and_is_then_not_read(left_out: str) -> None:
    net = tiny(cues=tuple(cue for cue in CUES if cue != left_out))
    assert left_out not in {name.split(".")[1] for name in net.state_dict() if "." in name}
    inputs = batch(net) if left_out != CAPTION else replace(batch(net), ids=None, mask=None)
    names = ("ids", "mask") if left_out == CAPTION else (left_out,)
    without = replace(inputs, **dict.fromkeys(names))
    assert torch.equal(net(without), net(inputs))
    assert len(net.filters) == int(left_out not in (PRODUCT, CAPTION))
    for cue in net.config.pictures:
        other = replace(without, **{cue: getattr(without, cue).flip(0)})
        assert not torch.allclose(net(other), net(without), atol=1e-5), f"{cue} is read"
    if left_out != CAPTION:
        ids, mask = net.tokens(("a tiny cup", "a huge cup", "cup of 3 m"))
        assert not torch.allclose(net(replace(without, ids=ids, mask=mask)), net(without), atol=1e-5)


def test_the_filter_is_the_papers_formula() -> None:
    layer = FeatureFilter(16, 2)
    product, caption = torch.randn(2, 9, 16), torch.randn(2, 4, 16)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    attended, _ = layer.ask(product, caption, caption, key_padding_mask=~mask)
    square = {"asked": layer.norm(attended), "product": product}
    square = {name: x.reshape(2, 3, 3, 16).permute(0, 3, 1, 2) for name, x in square.items()}
    expected = layer.joined(layer.said(square["asked"]) * layer.seen(square["product"])) + square["product"]
    got = layer(product, caption, mask)
    torch.testing.assert_close(got, expected.permute(0, 2, 3, 1).reshape(2, 9, 16))
    caption[1, 2:] += 5
    torch.testing.assert_close(layer(product, caption, mask), got)
    caption[1, 1] += 5
    assert not torch.allclose(layer(product, caption, mask)[1], got[1], atol=1e-4)
    layer.joined.requires_grad_(False).weight.zero_()
    layer.joined.bias.zero_()
    assert torch.equal(layer(product, caption, mask), product), "the filter's output is added to the product"


def test_the_numbers_of_filters_and_fusions_are_the_configs() -> None:
    net = tiny(filters=2, fusions=3)
    assert net.fuse is not None
    assert (len(net.filters), len(net.fuse.layers)) == (2, 3)
    paper = VARIANTS["paper"]
    assert (paper.width, paper.heads, paper.filters, paper.fusions, paper.side) == (384, 8, 1, 3, 384)


@pytest.mark.parametrize("left_out", ["", PRODUCT])
def test_company_and_padding_change_nothing(left_out: str) -> None:
    net = tiny(cues=tuple(cue for cue in CUES if cue != left_out))
    inputs = batch(net)
    one = Cues(**{f.name: getattr(inputs, f.name)[1:2] for f in fields(inputs)})
    torch.testing.assert_close(net(one), net(inputs)[1:2])
    longer = replace(inputs, ids=F.pad(inputs.ids, (0, 2), value=7), mask=F.pad(inputs.mask, (0, 2)))
    torch.testing.assert_close(net(longer), net(inputs))


def test_gradients_reach_every_picture() -> None:
    net = tiny().requires_grad_(False)
    inputs = batch(net)
    for cue in IMAGES:
        getattr(inputs, cue).requires_grad_()
    net(inputs)[:, Availability.AVAILABLE].sum().backward()
    for cue in IMAGES:
        grad = getattr(inputs, cue).grad
        assert grad.isfinite().all(), cue
        assert (grad.abs().amax((1, 2, 3)) > 0).all(), cue


def test_a_step_along_the_gradient_makes_a_picture_more_available() -> None:
    net = tiny().requires_grad_(False)
    inputs = batch(net)
    picture = inputs.picture.requires_grad_()
    before = net.probabilities(inputs)[:, 0]
    before.sum().backward()
    step = 0.01 * picture.grad / picture.grad.abs().amax((1, 2, 3), keepdim=True)
    assert (net.probabilities(replace(inputs, picture=(picture + step).detach()))[:, 0] > before).all()


def test_size_words_get_different_embeddings() -> None:
    text = "tiny small little medium large big huge giant mini xl xxl s m l cm mm m inch 1 2 10 20 25 30 50 100 200 2.5 0.5 wide tall"
    words = set(text.split())
    assert len({bucket(word) for word in words}) == len(words)
    assert pieces("Sofa, 20cm × 2,5 m") == ["sofa", "20", "cm", "2,5", "m"]
    assert pieces("20 cm") == pieces("２０ＣＭ") == ["20", "cm"]
    assert pieces("XL大号杯") == ["xl", "大", "号", "杯"]
    net = tiny()
    inputs = batch(net, ("sofa 20 cm", "sofa 20 cm", "sofa 20 cm"))
    ids, mask = net.tokens(("sofa 20 cm", "sofa 20 m", "sofa 30 cm"))
    change = (net(replace(inputs, ids=ids, mask=mask)) - net(inputs)).abs().amax(1)
    assert change[0] == 0
    assert change[1:].min() > 1e-5


def test_captions_are_cut_and_may_be_empty() -> None:
    ids, mask = tiny().tokens(("", "one two three four five six seven eight nine ten"))
    assert ids.shape == mask.shape == (2, WORDS)
    assert mask.sum(1).tolist() == [1, WORDS]
    with pytest.raises(IcgError, match=r"captions of an rfnet .* allowed: with 'caption'"):
        tiny(cues=IMAGES).tokens(("a",))


def test_the_small_network_has_few_weights() -> None:
    net = RFNet.build(VARIANTS["small"]).eval()
    assert sum(p.numel() for p in net.parameters()) < 1_000_000
    assert net(batch(net, side=VARIANTS["small"].side)).shape == (3, 5)
    assert RFNet.build(replace(VARIANTS["small"], side=96)).places.shape[0] == 36


def test_encoders_of_transformers(full: RFNet, tmp_path: Path) -> None:
    inputs = batch(full, ("a large sofa", "lamp", ""))
    assert inputs.ids.tolist() == [[0, 4, 5, 7, 2], [0, 8, 2, 1, 1], [0, 2, 1, 1, 1]]
    picture = inputs.picture.requires_grad_()
    full(inputs).sum().backward()
    assert picture.grad.abs().amax((1, 2, 3)).min() > 0
    stored = t.ResNetModel.from_pretrained(tmp_path / "resnet").state_dict()
    for cue in IMAGES:
        weights = full.images[cue].model.state_dict()
        assert all(torch.equal(weights[name], stored[name]) for name in stored)
    longer = replace(inputs, ids=F.pad(inputs.ids, (0, 2), value=1), mask=F.pad(inputs.mask, (0, 2)))
    torch.testing.assert_close(full(longer), full(inputs))


@pytest.mark.parametrize("more", [{}, {"downsample_in_first_stage": True}, {"hidden_sizes": [8, 16], "depths": [1, 1]}])
def test_the_stride_of_a_resnet_is_that_of_its_maps(more: dict[str, Any]) -> None:
    encoder = ResNetImage(resnet(**more).eval())
    assert encoder(torch.zeros(1, 3, 128, 128)).shape == (1, encoder.width, *[128 // encoder.stride] * 2)


def test_the_longest_caption_of_a_roberta_is_what_it_has_places_for(tmp_path: Path) -> None:
    encoder = RobertaText(roberta(tmp_path))
    ids = torch.full((1, encoder.longest + 1), 4)
    assert encoder(ids[:, 1:], ids[:, 1:] > 0).shape == (1, 18, 16)
    with pytest.raises((IndexError, RuntimeError)):
        encoder(ids, ids > 0)


def test_without_a_folder_the_classes_have_the_papers_size() -> None:
    with torch.device("meta"):
        image, text = image_encoder("resnet"), text_encoder("roberta", 64)
    assert (image.width, image.stride, tuple(image.model.config.depths)) == (2048, 32, (3, 4, 6, 3))
    assert (text.width, text.vocabulary, text.longest, text.model.config.num_hidden_layers) == (768, 50265, 512, 12)
    with pytest.raises(IcgError, match="no tokenizer"):
        text.tokens(("a",), 8)


def test_it_comes_back_to_the_bit(full: RFNet, tmp_path: Path) -> None:
    for n, net in enumerate((tiny(), tiny(classes=6, cues=(PICTURE, CAPTION)), tiny(coarse=True, cues=IMAGES), full)):
        folder = tmp_path / f"saved{n}"
        net.save_pretrained(folder)
        again = RFNet.from_pretrained(folder)
        assert again.config == net.config == RFNetConfig.read(folder)
        assert not again.training
        inputs = batch(net, ("a large sofa", "lamp", ""))
        if net.text is not None:
            assert all(
                torch.equal(a, b) for a, b in zip(again.tokens(("a sofa",)), net.tokens(("a sofa",)), strict=True)
            )
        assert torch.equal(again(inputs), net(inputs))
        net.save_pretrained(folder, torch.float16)
        torch.testing.assert_close(RFNet.from_pretrained(folder)(inputs), net(inputs), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"width": 30}, "heads=4; allowed: a divisor of 30"),
        ({"heads": 0}, "heads=0; allowed: a whole number from 1"),
        ({"filters": True}, "filters=True; allowed: a whole number"),
        ({"fusions": -1}, "fusions=-1; allowed: a whole number from 0"),
        ({"classes": 4}, "classes=4; allowed: 5, 6"),
        ({"coarse": 1}, "coarse=1; allowed: True, False"),
        ({"image": "vgg"}, "image='vgg'; allowed: resnet, small"),
        ({"text": "bert"}, "text='bert'; allowed: roberta, small"),
        ({"cues": (CAPTION,)}, "not the caption alone"),
        ({"cues": (CAPTION, PICTURE)}, "in this order"),
        ({"cues": ("picture", "sound")}, "in this order"),
    ],
)
def test_configs_that_make_no_network_are_named(more: dict[str, Any], message: str) -> None:
    with pytest.raises(IcgError, match=message):
        replace(VARIANTS["small"], **more)


def test_encoders_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(IcgError, match="side=40; allowed: a multiple of 16"):
        tiny(side=40)
    with pytest.raises(IcgError, match="words=8; allowed: at most 4"):
        RFNet(TINY, SmallImage(), SmallText(4))
    with pytest.raises(IcgError, match="with no text encoder; allowed: one exactly where"):
        RFNet(TINY, SmallImage())
    with pytest.raises(IcgError, match="with SmallText; allowed: one exactly where"):
        RFNet(replace(TINY, cues=IMAGES), SmallImage(), SmallText(8))
    with pytest.raises(IcgError, match="for a small encoder; allowed: None"):
        RFNet.build(TINY, image=tmp_path)
    model = roberta(tmp_path)
    model.config.vocab_size = 5
    words = t.AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a tokenizer of 9 tokens; allowed: at most 5"):
        RobertaText(model, words)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"product": torch.zeros(0, 3, 32, 32)}, r"product of shape \(0, 3, 32, 32\)"),
        ({"picture": None}, r"picture=None; allowed: finite floating \(3, 3, 32, 32\)"),
        ({"product": torch.zeros(3, 3, 16, 16)}, r"product of shape \(3, 3, 16, 16\); allowed: .*\(B, 3, 32, 32\)"),
        ({"depth": torch.zeros(3, 3, 32, 32)}, r"depth of shape .*\(3, 1, 32, 32\)"),
        ({"saliency": torch.zeros(2, 1, 32, 32)}, r"saliency of shape .*\(3, 1, 32, 32\)"),
        ({"picture": torch.zeros(3, 3, 32, 32, dtype=torch.uint8)}, "picture of torch.uint8"),
        ({"depth": torch.full((3, 1, 32, 32), torch.nan)}, "depth of torch.float32 with values up to nan"),
        ({"ids": None}, "ids=None"),
        ({"mask": None}, "mask=None"),
        ({"ids": torch.ones(3, 2, dtype=torch.long)}, r"ids of shape \(3, 2\)"),
        ({"ids": torch.ones(3, 9, dtype=torch.long), "mask": torch.ones(3, 9) > 0}, r"L in 1\.\.8"),
        ({"mask": torch.zeros(3, 5, dtype=torch.bool), "ids": torch.ones(3, 5, dtype=torch.long)}, "a token a row"),
        ({"mask": torch.ones(3, 5), "ids": torch.ones(3, 5, dtype=torch.long)}, "mask of torch.float32"),
        ({"mask": torch.ones(3, 5) > 0, "ids": torch.full((3, 5), 4096)}, r"4096; allowed: 0\.\.4095"),
        ({"mask": torch.ones(3, 5) > 0, "ids": torch.full((3, 5), -1)}, r"-1\.\.-1; allowed: 0"),
    ],
)
def test_wrong_inputs_are_named(more: dict[str, Any], message: str) -> None:
    net = tiny()
    with pytest.raises(IcgError, match=message):
        net(replace(batch(net), **more))


def test_a_batch_moves() -> None:
    moved = replace(batch(tiny()), depth=None).to("meta")
    assert moved.depth is None
    assert moved.picture.device.type == moved.mask.device.type == "meta"


def test_saved_folders_that_do_not_fit_are_named(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            RFNet.from_pretrained(tmp_path)

    net = tiny()
    refused(r"config\.json is missing")
    net.save_pretrained(tmp_path)
    stated, path = json.loads((tmp_path / "config.json").read_text()), tmp_path / "model.safetensors"
    for wrong, message in (
        ({"width": 32}, r"does not match its config\.json"),
        ({"classes": 6}, r"does not match its config\.json"),
        ({"side": 40}, r"does not match its config\.json"),
        ({"filters": 2}, r"does not match its config\.json"),
        ({"cues": IMAGES}, r"does not match its config\.json"),
        ({"heads": 3}, r"config\.json makes no network"),
        ({"cues": 7}, r"config\.json makes no network"),
        ({"colour": 1}, r"\['colour'\] too many"),
        ({"image": "resnet"}, "no such folder"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(stated | wrong))
        refused(message)
    (tmp_path / "config.json").write_text(json.dumps(stated))
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    refused("a whole file")
    path.unlink()
    refused(r"model\.safetensors is missing")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    refused("only pickled weights")


def test_sources_that_do_not_fit_are_named(tmp_path: Path) -> None:
    def refused(message: str, folder: Path, kind: str = "image") -> None:
        with pytest.raises(CheckpointError, match=message):
            image_encoder("resnet", folder) if kind == "image" else text_encoder("roberta", WORDS, folder)

    refused("no such folder", tmp_path / "none")
    resnet().save_pretrained(tmp_path / "resnet")
    refused("a resnet; allowed: roberta, xlm-roberta", tmp_path / "resnet", "text")
    weights = tmp_path / "resnet" / "model.safetensors"
    stated = json.loads((tmp_path / "resnet" / "config.json").read_text())
    for wrong, message in (
        ({"depths": [1, 1, 1, 2]}, "weights are missing"),
        ({"hidden_sizes": [8, 16, 16, 32]}, "not readable"),
        ({"layer_type": "odd"}, "not readable"),
    ):
        (tmp_path / "resnet" / "config.json").write_text(json.dumps(stated | wrong))
        refused(message, tmp_path / "resnet")
    weights.rename(weights.with_name("pytorch_model.bin"))
    refused("only pickled weights", tmp_path / "resnet")
    roberta(tmp_path / "roberta")
    (tmp_path / "roberta" / "tokenizer.json").unlink()
    refused("no tokenizer", tmp_path / "roberta", "text")
