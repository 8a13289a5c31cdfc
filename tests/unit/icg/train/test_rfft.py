"""RFFT trains low-rank weights for studios, or the ControlNet, alone, keeps it near its start, and removes what the judge dislikes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.data.art import procedural
from icg.data.sizes import held_out
from icg.draw.pipeline import CoverPipeline
from icg.errors import IcgError
from icg.evaluate.product_briefs import HEIGHT, PARTS, part, repeated
from icg.reliability.config import VARIANTS, RFNetConfig
from icg.reliability.cues import SmallCues
from icg.reliability.judge import Judge
from icg.reliability.rfnet import RFNet
from icg.starter import Starter
from icg.train.loop import Fit
from icg.train.reliability.rfft import TWINS, RFFTConfig, Tuner, run

from tests.unit.icg.draw.test_studios import brief, pipeline
from tests.unit.icg.models.test_families import SIZE, covers_of
from tests.unit.icg.products.test_inpainting import controlled, product_brief

__all__ = ["pipeline"]
CONFIG = RFNetConfig(**{**VARIANTS["small"].__dict__, "side": 32, "width": 16, "fusions": 1})


class Brightness(torch.nn.Module):
    """A reward whose gradient is known: brighter is better."""

    name, range = "aesthetic", (-1.0, 1.0)

    def tensor(self, images: torch.Tensor, briefs: list[Brief]) -> torch.Tensor:
        return images.mean((1, 2, 3))


def tuner(small: Starter, regulariser: str = "cc", **more: Any) -> Tuner:
    pipeline = controlled(covers_of(small, "sana"))
    torch.manual_seed(0)
    judge = Judge(RFNet.build(CONFIG), SmallCues((8, 16)))
    return Tuner(pipeline, judge, RFFTConfig(regulariser, **more), Brightness())  # type: ignore[arg-type]


@pytest.fixture
def studios(pipeline: CoverPipeline) -> Tuner:
    torch.manual_seed(0)
    return Tuner(pipeline, Judge(RFNet.build(CONFIG), SmallCues((8, 16))), RFFTConfig(rank=2))


def new_briefs(count: int) -> list[Brief]:
    return [product_brief(seed=n, steps=4, user_embedding=None) for n in range(count)]


def test_the_gradient_reaches_the_controlnet_and_nothing_else(small: Starter) -> None:
    rfft = tuner(small)
    rfft.loss(new_briefs(2), 3)["loss"].backward()
    assert all(p.grad is not None for p in rfft.tuned.net.controlnet_blocks.parameters())
    assert any(float(p.grad.abs().sum()) > 0 for p in rfft.tuned.net.parameters() if p.grad is not None)
    family = rfft.pipeline.family
    others = [*family.denoiser.parameters(), *family.vae.parameters(), *rfft.judge.parameters()]
    others += [*rfft.tuned.untuned.inpainter.net.parameters(), *rfft.pipeline.adapter.parameters()]
    assert all(p.grad is None for p in others)


@pytest.mark.parametrize("regulariser", ["cc", "kl"])
def test_a_regulariser_is_zero_at_first_and_grows_with_the_change(small: Starter, regulariser: str) -> None:
    rfft = tuner(small, regulariser)
    first = rfft.loss(new_briefs(2), 3)["held"].item()
    assert first < 2e-4
    with torch.no_grad():
        for p in rfft.tuned.net.parameters():
            p += 0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    losses = rfft.loss(new_briefs(2), 3)
    assert losses["held"].item() > 5 * first
    expected = losses["available"] + rfft.config.beta * losses["held"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_a_regulariser_it_is_watched_and_not_weighed(small: Starter) -> None:
    losses = tuner(small, "none").loss(new_briefs(2), 3)
    assert losses["loss"].item() == losses["available"].item()


def test_the_judge_is_shown_the_cover_that_is_implied(small: Starter) -> None:
    """At the last step the implied cover is the finished one, so the loss is the judge's own verdict."""
    rfft = tuner(small)
    loss = rfft.loss(new_briefs(2), 3)["available"].item()
    covers = rfft.pipeline(new_briefs(2))
    judgements = rfft.judge(covers, [b.product for b in new_briefs(2)], [b.title for b in new_briefs(2)])  # type: ignore[misc]
    assert loss == pytest.approx(float(np.mean([-np.log(one.score) for one in judgements])), abs=0.02)


def test_briefs_that_choose_beta_are_neither_tuned_on_nor_held_out() -> None:
    names = {title: part(title) for title in HEIGHT}
    assert {title for title, name in names.items() if name == "held"} == {t for t in HEIGHT if held_out(t)}
    shares = [sum(name == one for name in names.values()) / len(names) for one in PARTS]
    assert shares == pytest.approx([0.6, 0.15, 0.25], abs=0.06)


@pytest.mark.slow
def test_a_tuned_controlnet_pleases_the_judge_more_on_new_products(small: Starter, tmp_path: Path) -> None:
    rfft = tuner(small, "cc", beta=0.0)
    new = [product_brief(seed=100 + n, steps=2, user_embedding=None) for n in range(8)]
    with torch.no_grad():
        before = float(rfft.loss(new, 1)["available"])
    subjects = procedural()
    for subject in subjects:
        object.__setattr__(subject, "title", "soccer ball")  # of known size
    losses = run(tmp_path, rfft, subjects, Fit(12, 3e-3, 4, 0, 2, save_every=6), steps=2, size=SIZE)
    with torch.no_grad():
        after = float(rfft.loss(new, 1)["available"])
    assert after < before - 0.02
    assert losses["available"] > 0
    assert (tmp_path / "controlnet" / "diffusion_pytorch_model.safetensors").exists()


def test_an_aesthetic_reward_takes_part(small: Starter) -> None:
    losses = tuner(small, "none", aesthetic=2.0).loss(new_briefs(2), 3)
    assert losses["loss"].item() == pytest.approx((losses["available"] - 2 * losses["aesthetic"]).item(), rel=1e-5)


def test_two_pictures_of_a_brief_are_held_apart(small: Starter) -> None:
    """The loss is zero before a change, and a gradient step undoes a change that makes backgrounds alike."""
    shown = repeated(new_briefs(2), TWINS)
    assert [b.seed for b in shown] == [0, 1, 1, 2]
    assert tuner(small, "none", apart=2.0).loss(shown, 3)["nearer"].item() < 0.01
    changes = []
    for size, seed in ((size, seed) for size in (0.3, 0.5) for seed in (1, 2, 3)):
        changes.append(tuner(small, "none", apart=2.0))
        with torch.no_grad():
            for p in changes[-1].tuned.net.parameters():
                p += size * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))
    # a random change makes backgrounds alike for some starters and seeds alone
    rfft = max(changes, key=lambda change: change.loss(shown, 3)["nearer"].item())
    losses = rfft.loss(shown, 3)
    assert losses["nearer"].item() > 0.02
    assert losses["loss"].item() == pytest.approx((losses["available"] + 2 * losses["nearer"]).item(), rel=1e-5)
    (grads := torch.autograd.grad(losses["nearer"], list(rfft.tuned.net.parameters()), allow_unused=True))
    length = torch.cat([g.flatten() for g in grads if g is not None]).norm()
    with torch.no_grad():
        for p, g in zip(rfft.tuned.net.parameters(), grads, strict=True):
            if g is not None:
                p -= 0.05 * g / length
    assert rfft.loss(shown, 3)["nearer"].item() < losses["nearer"].item()


def test_checkpointing_changes_no_gradient(small: Starter) -> None:
    gradients = []
    for checkpointing in (False, True):
        rfft = tuner(small, "cc", checkpointing=checkpointing)
        assert rfft.tuned.net.is_gradient_checkpointing is checkpointing
        rfft.loss(new_briefs(2), 3)["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in rfft.tuned.net.parameters() if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)
    assert gradients[0].abs().max() > 0


def test_an_untunable_model_is_named(small: Starter) -> None:
    with pytest.raises(IcgError, match="regulariser='l2'; allowed: cc, kl, none"):
        RFFTConfig("l2")
    rfft = tuner(small)
    with pytest.raises(IcgError, match=r"aesthetic=1\.0 without that reward"):
        Tuner(rfft.pipeline, rfft.judge, RFFTConfig(aesthetic=1.0))
    with pytest.raises(IcgError, match="without studios and without a ControlNet"):
        Tuner(covers_of(small, "sana"), rfft.judge, RFFTConfig())


def test_briefs_without_guidance_are_tuned_too(small: Starter) -> None:
    briefs = [replace(brief, guidance=1.0) for brief in new_briefs(2)]
    losses = tuner(small).loss(briefs, 3)
    assert torch.isfinite(losses["loss"])
    assert losses["held"].item() < 2e-4


def test_in_studios_the_gradient_reaches_low_rank_weights_and_nothing_else(studios: Tuner) -> None:
    studios.loss([brief(), brief("tower, 1.6 m high")], 1)["loss"].backward()
    trained = {n: p for n, p in studios.tuned.net.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert any(float(p.grad.abs().sum()) > 0 for p in trained.values() if p.grad is not None)
    drawer = studios.pipeline.drawer(True)
    others = [*drawer.family.denoiser.parameters(), *drawer.family.vae.parameters(), *drawer.adapter.parameters()]
    assert all(p.grad is None for p in [*others, *studios.judge.parameters()])


def test_in_studios_the_regulariser_is_zero_at_first_and_grows_with_the_change(studios: Tuner) -> None:
    first = studios.loss([brief(), brief("tower, 1.6 m high")], 1)["held"].item()
    assert first < 2e-4
    with torch.no_grad():
        for name, p in studios.tuned.net.named_parameters():
            if "lora_B" in name:
                p += 0.5
    assert studios.loss([brief(), brief("tower, 1.6 m high")], 1)["held"].item() > 5 * first


def test_the_judge_is_shown_the_product_where_the_studio_has_it(studios: Tuner) -> None:
    """At the last step the implied cover is the finished one."""
    briefs = [replace(brief(), steps=8), replace(brief("tower, 1.6 m high"), steps=8)]
    loss = studios.loss(briefs, 7)["available"].item()
    products = [b.product for b in briefs if b.product is not None]
    judgements = studios.judge(studios.pipeline(briefs), products, [b.title for b in briefs])
    assert loss == pytest.approx(float(np.mean([-np.log(one.score) for one in judgements])), abs=0.02)


def test_tuned_studios_are_a_part_of_a_checkpoint(studios: Tuner, tmp_path: Path) -> None:
    subjects = procedural()
    for subject in subjects:
        object.__setattr__(subject, "title", "soccer ball")  # of known size
    run(tmp_path, studios, subjects, Fit(2, 1e-2, 2, 0, 1, save_every=2), steps=3)
    again = studios.tuned.untuned.drawer(True).copied()
    again.family.load_lora(tmp_path / "grounds" / "studios")
    covers = [np.asarray(p([brief()])[0], int) for p in (studios.pipeline, again)]
    assert np.abs(covers[0] - covers[1]).max() <= 2
