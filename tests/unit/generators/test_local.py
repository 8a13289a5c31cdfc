"""The in-process generator on the shipped starter: one running batch for all calls, progress, cancelling, refusals, closing."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput, NotReady, Unavailable
from eyecatch.core.generator import Brief
from eyecatch.core.judgement import from_rewards
from eyecatch.generators.local import LocalGenerator
from icg import starter
from icg.brief import Brief as IcgBrief
from icg.compose.subject import product_of
from icg.gates.gates import Gates
from icg.products import compact
from icg.rewards.engagement import Engagement
from PIL import Image

from tests.unit.icg.reliability.tiny_judge import judge


@pytest.fixture
async def generator() -> AsyncIterator[LocalGenerator]:
    local = LocalGenerator()
    await local.load()
    yield local
    await local.close()


def brief(seed: int, steps: int = 3, width: int = 64) -> Brief:
    return Brief("panda", (), np.eye(width, dtype=np.float32)[seed], seed, Drawing(steps=steps))


async def test_calls_share_a_batch_and_change_nothing(generator: LocalGenerator) -> None:
    alone = await generator.generate([brief(1)], lambda *_: None)
    updates: list[tuple[int, int]] = []
    first, second = await asyncio.gather(
        generator.generate([brief(2, 4), brief(1)], lambda *at: updates.append(at)),
        generator.generate([brief(3)], lambda *_: None),
    )
    assert first[1].image == alone[0].image
    assert len({m.image for m in (*first, *second)}) == 3
    assert [m.seed for m in first] == [2, 1]
    assert updates[-1] == (4, 4)
    assert [a / b for a, b in updates] == sorted({a / b for a, b in updates})
    assert set(first[0].rewards) >= {"relevance", "aesthetic"}


async def test_a_part_of_the_steps_is_guided(generator: LocalGenerator) -> None:
    request = [replace(brief(1), drawing=Drawing(steps=3, guided=part)) for part in (None, (0.0, 1.0), (0.0, 0.5))]
    whole, same, part = await generator.generate(request, lambda *_: None)
    assert whole.image == same.image != part.image
    assert whole.brief_digest == same.brief_digest != part.brief_digest


async def test_cancelling_stops_within_a_step(generator: LocalGenerator) -> None:
    begun, steps, loop = asyncio.Event(), [], asyncio.get_running_loop()

    def on_step(step: int, total: int) -> None:
        steps.append(step)
        loop.call_soon_threadsafe(begun.set)

    task = asyncio.create_task(generator.generate([brief(1, 100)], on_step))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    at = len(steps)
    await generator.generate([brief(2, 2)], lambda *_: None)
    assert len(steps) <= at + 1


async def test_one_bad_brief_refuses_its_call_and_no_other(generator: LocalGenerator) -> None:
    bad = generator.generate([brief(1, 50), brief(2, width=32)], lambda *_: None)
    good = generator.generate([brief(3)], lambda *_: None)
    refused, covers = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(refused, InvalidInput)
    assert "user_embedding: got width=32; allowed: 64" in str(refused)
    assert not isinstance(covers, BaseException)
    assert len(covers) == 1


@pytest.fixture
def judging(tmp_path: Path) -> Path:
    """The shipped starter without models of design and engagement, with a ControlNet and a judge of random weights."""
    for part in starter.path().iterdir():
        if part.is_dir() and part.name not in ("controlnet", "reliability", "design", "engagement"):
            (tmp_path / part.name).symlink_to(part)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        compact.from_denoiser(starter.load().pipeline.family.denoiser, 1).save_pretrained(tmp_path / "controlnet")
    judge(threshold=0.0).save_pretrained(tmp_path / "reliability")
    return tmp_path


def square(ground: str) -> bytes:
    out, noise = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    result = Image.fromarray(noise) if ground == "noisy" else Image.new("RGB", (64, 64), "white")
    result.paste("red", (16, 16, 48, 48))
    result.save(out, "PNG")
    return out.getvalue()


async def test_scenes_around_a_product_are_judged_and_other_covers_are_not(judging: Path) -> None:
    generator, request = LocalGenerator(judging), replace(brief(1), references=(square("plain"),))
    try:
        around, plain = await generator.generate(
            [replace(request, drawing=Drawing(3, inpaint=True)), request], lambda *_: None
        )
        assert around.available is True
        judgement = from_rewards(around.rewards)
        assert list(judgement)[:2] == ["available", "space_mismatch"]
        assert sum(judgement.values()) == pytest.approx(1, abs=1e-5)
        (output,) = judge(0.0)(
            [Image.open(io.BytesIO(around.image))], [product_of(Image.open(io.BytesIO(square("plain"))))], ["panda"]
        )
        assert judgement == pytest.approx(output.probabilities, abs=1e-3)
        assert (plain.available, from_rewards(plain.rewards)) == (None, {})
        assert plain.image != around.image
        values = {name: plain.rewards[f"gate_{name}"] for name in ("domain", "fidelity", "artifacts")}
        assert plain.refusals == Gates(**values).failures()
        for references in ((), (square("noisy"),)):
            with pytest.raises(InvalidInput, match="inpaint: got True without a product"):
                await generator.generate(
                    [replace(request, references=references, drawing=Drawing(3, inpaint=True))], lambda *_: None
                )
    finally:
        await generator.close()


async def test_a_wanted_engagement_is_another_cover(generator: LocalGenerator) -> None:
    plain = Brief("panda", (), np.zeros(64, np.float32), 1)
    high, low, none = await generator.generate(
        [replace(plain, drawing=Drawing(3, target_kpi=t)) for t in ("high", "low", "")], lambda *_: None
    )
    assert len({high.image, low.image, none.image}) == 3
    with pytest.raises(InvalidInput, match="target: got 'viral'"):
        await generator.generate([replace(plain, drawing=Drawing(3, target_kpi="viral"))], lambda *_: None)


async def test_nobody_waits_for_the_design_of_another(generator: LocalGenerator) -> None:
    await generator.generate([brief(1, 1)], lambda *_: None)
    new = Brief("a title that is new here", (), np.zeros(64, np.float32), 4, Drawing(1, target_kpi="low"))
    designed = asyncio.create_task(generator.generate([new], lambda *_: None))
    plain = [asyncio.create_task(generator.generate([brief(n, 1)], lambda *_: None)) for n in (2, 3)]
    first, _ = await asyncio.wait([designed, *plain], return_when=asyncio.FIRST_COMPLETED)
    assert designed not in first
    assert len({m.image for (m,) in await asyncio.gather(designed, *plain)}) == 3


async def test_a_checkpoint_without_a_design_model_says_so(judging: Path) -> None:
    local = LocalGenerator(judging)
    try:
        with pytest.raises(NotReady, match="target_kpi='high' for a checkpoint without design/"):
            await local.generate(
                [Brief("panda", (), np.zeros(64, np.float32), 1, Drawing(3, target_kpi="high"))], lambda *_: None
            )
    finally:
        await local.close()


async def test_engagement_is_rated_where_it_is_asked_for(generator: LocalGenerator) -> None:
    engaging = LocalGenerator(engaging=True)
    try:
        (engaging_cover,), (plain,) = [await g.generate([brief(1)], lambda *_: None) for g in (engaging, generator)]
        assert engaging_cover.image == plain.image
        (scored,) = await engaging.score([engaging_cover.image], ["panda"])
    finally:
        await engaging.close()
    alone = Engagement.from_pretrained(starter.path() / "engagement")
    output = alone([Image.open(io.BytesIO(engaging_cover.image)).convert("RGB")], [IcgBrief("panda")])
    assert 0 < engaging_cover.rewards["engagement"] < 1
    assert engaging_cover.rewards["engagement"] == pytest.approx(scored.rewards["engagement"], abs=1e-6)
    assert scored.rewards["engagement"] == pytest.approx(float(output[0]), abs=1e-6)
    assert {name: value for name, value in engaging_cover.rewards.items() if name != "engagement"} == dict(
        plain.rewards
    )


async def test_a_checkpoint_without_an_engagement_model_says_so(judging: Path) -> None:
    local = LocalGenerator(judging, engaging=True)
    try:
        with pytest.raises(Unavailable, match=r"cannot be loaded: .*engagement"):
            await local.load()
    finally:
        await local.close()


async def test_closing_ends_what_is_being_made() -> None:
    generator, begun, loop = LocalGenerator(), asyncio.Event(), asyncio.get_running_loop()
    task = asyncio.create_task(
        generator.generate([brief(1, 100)], lambda *_: loop.call_soon_threadsafe(begun.set) and None)
    )
    await begun.wait()
    await generator.close()
    with pytest.raises(Unavailable, match="cancelled"):
        await task
    with pytest.raises(Unavailable, match="closed"):
        await generator.generate([brief(1)], lambda *_: None)


async def test_pictures_are_rated_without_a_model_that_draws(tmp_path: Path) -> None:
    """Importing a catalogue beside a full-size checkpoint must not load it."""
    for part in ("space", "dual", "aesthetic", "domain"):
        (tmp_path / part).symlink_to(starter.path() / part)
    judging = LocalGenerator(tmp_path)
    (score,) = await judging.score([square("plain")], ["panda"])
    (whole,) = await LocalGenerator().score([square("plain")], ["panda"])
    assert score.rewards == whole.rewards
    assert (score.embedding == whole.embedding).all()
    with pytest.raises(Unavailable, match=r"vlm|adapter"):
        await judging.generate([brief(1)], lambda *_: None)
    await judging.close()
