"""The generator on real Triton servers with the shipped starter: the same covers, progress, cancelling, refusals, faults."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as grpcclient
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.core.generator import Brief
from eyecatch.encoders.learned import cover_space
from eyecatch.generators.local import LocalGenerator
from eyecatch.generators.triton import TritonGenerator, TritonOptions
from eyecatch.generators.triton_wire import Broken
from icg import starter
from PIL import Image

from tests.fakes import picture
from tests.proxy import Proxy
from tests.triton import Triton
from tests.unit.generators.test_local import brief
from tests.waiting import until

SPACE = cover_space(starter.path())


@asynccontextmanager
async def drawing(*servers: Triton, **asking: Any) -> AsyncIterator[TritonGenerator]:
    options = {"timeout_s": 60.0, "level": 2, "space": SPACE, "health_s": 0.2} | asking
    triton_generator = TritonGenerator([server.address for server in servers], TritonOptions(**options))
    try:
        yield triton_generator
    finally:
        await triton_generator.close()


@pytest.fixture
async def generator(triton_server: Triton) -> AsyncIterator[TritonGenerator]:
    async with drawing(triton_server) as triton_generator:
        yield triton_generator


class Watch:
    """An `on_step` that can be waited for."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.begun = asyncio.Event()

    def __call__(self, step: int, total: int) -> None:
        self.steps.append((step, total))
        self.begun.set()


def silent(step: int, total: int) -> None:
    pass


async def test_covers_and_scores_are_the_local_generators_bit_by_bit(generator: TritonGenerator) -> None:
    local = LocalGenerator()
    photo = picture("orange", (80, 60))
    request = [
        brief(1, 4),
        Brief("rocket", (photo, picture("green")), np.zeros(64, np.float32), 7, Drawing(5)),
        Brief("fox", (photo,), np.eye(64, dtype=np.float32)[3], 8, Drawing(3, 0.3, 1.0)),
        Brief("an orange 🍊", (), np.eye(64, dtype=np.float32)[3], 2**62),
        Brief("panda", (), np.zeros(64, np.float32), 4, Drawing(3, target_kpi="high")),
        Brief("panda", (), np.eye(64, dtype=np.float32)[3], 4, Drawing(guided=(0.125, 0.375))),
        Brief("panda", (), np.eye(64, dtype=np.float32)[3], 4, Drawing(guidance=1.0)),
    ]
    try:
        theirs = await generator.generate(request, silent)
        ours = await local.generate(request, silent)
        assert len({cover.image for cover in ours}) == len(request)
        for a, b in zip(theirs, ours, strict=True):
            assert a.image == b.image
            assert np.array_equal(a.embedding, b.embedding)
            assert a.rewards == b.rewards
            assert a.refusals == b.refusals
            assert a.rewards.keys() >= {"gate_domain", "gate_fidelity", "gate_artifacts"}
            assert (a.model, a.adapter, a.seed, a.steps) == (b.model, b.adapter, b.seed, b.steps)
            assert (a.width, a.height, a.suffix, a.brief_digest) == (b.width, b.height, b.suffix, b.brief_digest)
        images, titles = [picture("red"), picture("blue", (30, 90)), photo], ["panda", "sea", "fox"]
        for s, t in zip(await generator.score(images, titles), await local.score(images, titles), strict=True):
            assert np.array_equal(s.embedding, t.embedding)
            assert s.rewards == t.rewards
    finally:
        await local.close()


async def test_engagement_is_rated_where_it_is_asked_for(triton_server: Triton) -> None:
    images, titles = [picture("red"), picture("blue", (30, 90))], ["panda", "sea"]
    local = LocalGenerator(engaging=True)
    try:
        ours = await local.score(images, titles)
    finally:
        await local.close()
    async with drawing(triton_server, engaging=True) as engaging:
        theirs = await engaging.score(images, titles)
        (cover,) = await engaging.generate([brief(1, 3)], silent)
    assert "engagement" in cover.rewards
    for s, t in zip(ours, theirs, strict=True):
        assert s.rewards == pytest.approx(t.rewards, abs=1e-6)
    async with drawing(triton_server) as plain:
        assert "engagement" not in (await plain.score(images, titles))[0].rewards


async def test_nobody_waits_for_the_design_of_another(generator: TritonGenerator) -> None:
    await generator.generate([brief(1, 1)], silent)
    designed = asyncio.create_task(
        generator.generate(
            [Brief("a title that is new here", (), np.zeros(64, np.float32), 4, Drawing(1, target_kpi="low"))], silent
        )
    )
    plain = [asyncio.create_task(generator.generate([brief(n, 1)], silent)) for n in (2, 3)]
    first, _ = await asyncio.wait([designed, *plain], return_when=asyncio.FIRST_COMPLETED)
    assert designed not in first
    assert len({m.image for (m,) in await asyncio.gather(designed, *plain)}) == 3
    with pytest.raises(InvalidInput, match="target: got 'huge'; allowed: low, medium, high"):
        await generator.generate(
            [Brief("another", (), np.zeros(64, np.float32), 4, Drawing(1, target_kpi="huge"))], silent
        )


async def test_progress_comes_step_by_step(generator: TritonGenerator) -> None:
    watch = Watch()
    await generator.generate([brief(1, 5)], watch)
    assert watch.steps == [(step, 5) for step in range(1, 6)]
    watch = Watch()
    await generator.generate([brief(1, 2), brief(2, 6)], watch)
    assert watch.steps[-1] in ((6, 6), (2, 2))
    assert [a / b for a, b in watch.steps] == sorted({a / b for a, b in watch.steps})


async def test_covers_of_many_calls_are_drawn_in_one_running_batch(
    generator: TritonGenerator, triton_server: Triton
) -> None:
    steps, calls = 32, 6  # so many that it does not count if a call arrives some steps later on a busy machine
    await generator.generate([brief(n, 2) for n in range(calls)], silent)  # sizes of batches are proven when first met
    before = triton_server.metrics()
    answers = await asyncio.gather(*(generator.generate([brief(n, steps)], silent) for n in range(calls)))
    assert len({m.image for (m,) in answers}) == calls
    await until(lambda: triton_server.metrics()["live"] == 0, "the news")
    after = triton_server.metrics()
    assert after["rows"] - before["rows"] == 2 * steps * calls
    assert after["ticks"] - before["ticks"] < steps * calls / 2


async def test_a_caller_who_goes_away_frees_nine_tenths_of_the_work(
    generator: TritonGenerator, triton_server: Triton
) -> None:
    before, watch = triton_server.metrics(), Watch()
    # Eight covers make a step long beside the way of a cancellation, which takes its time on a busy machine.
    task = asyncio.create_task(generator.generate([brief(n, 100) for n in range(8)], watch))
    await watch.begun.wait()
    gone = triton_server.metrics()["ticks"]  # the first covers took some steps while the last one was still read
    left = 100 - (gone - before["ticks"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: triton_server.metrics()["cancelled"] > before["cancelled"], "a cancellation")
    await until(lambda: triton_server.metrics()["live"] == 0, "the end of the work")
    assert triton_server.metrics()["ticks"] - gone <= 0.1 * left


async def test_the_deadline_reaches_the_scheduler(triton_server: Triton) -> None:
    before = triton_server.metrics()
    async with drawing(triton_server, timeout_s=0.5) as hasty:
        with pytest.raises(Unavailable, match=r"no room: deadline in .* more steps|no answer"):
            await hasty.generate([brief(1, 100)], silent)
    await until(lambda: triton_server.metrics()["late"] > before["late"], "the news")
    assert triton_server.metrics()["live"] == 0


async def test_a_lower_level_goes_first(triton_server: Triton) -> None:
    order: list[str] = []
    begun = asyncio.Event()

    def finishing(name: str) -> Callable[[int, int], None]:
        def on_step(step: int, total: int) -> None:
            begun.set()
            if step == total:
                order.append(name)

        return on_step

    async with drawing(triton_server, level=3) as patient, drawing(triton_server, level=1) as urgent:
        await urgent.score([], [])  # connected
        crowd = [asyncio.create_task(patient.generate([brief(n, 4)], finishing("crowd"))) for n in range(20)]
        await begun.wait()
        await asyncio.gather(*crowd, urgent.generate([brief(60, 4)], finishing("urgent")))
    assert order.index("urgent") <= 14, "it came last and had to overtake those who waited"


async def test_wrong_briefs_are_refused_by_name_and_their_companions_finish(
    generator: TritonGenerator, triton_server: Triton
) -> None:
    nan = np.full(64, np.nan, np.float32)
    wrong: list[tuple[str, Brief]] = [
        ("steps", brief(1, 10_000)),
        ("steps", brief(1, -1)),
        ("user_embedding", Brief("panda", (), nan, 1)),
        ("user_embedding", brief(1, width=32)),
        ("references", Brief("panda", (b"no picture",), np.zeros(64, np.float32), 1)),
        ("references", Brief("panda", (picture()[:90],), np.zeros(64, np.float32), 1)),
        ("reference_lengths", Brief("panda", (picture(),) * 5, np.zeros(64, np.float32), 1)),
        ("seed", Brief("panda", (), np.zeros(64, np.float32), -4)),
        ("strength", Brief("panda", (), np.zeros(64, np.float32), 4, Drawing(strength=float("inf")))),
        ("title", Brief("", (), np.zeros(64, np.float32), 4)),
        ("title", Brief("x" * 600, (), np.zeros(64, np.float32), 4)),
    ]
    alone = await generator.generate([brief(5, 12)], silent)
    watch = Watch()
    companion = asyncio.create_task(generator.generate([brief(5, 12)], watch))
    await watch.begun.wait()
    answers = await asyncio.gather(*(generator.generate([b], silent) for _, b in wrong), return_exceptions=True)
    for (tensor, _), answer in zip(wrong, answers, strict=True):
        assert isinstance(answer, InvalidInput), answer
        (violation,) = answer.violations
        assert violation.field == tensor
        assert violation.allowed
    assert (await companion)[0].image == alone[0].image
    assert not generator.endpoints.all[0].breaker.open, "refusing is working"


async def request(server: Triton, **values: tuple[str, np.ndarray]) -> list[Any]:
    """Answers, or one error, to tensors and their types, beside a title."""
    async with grpcclient.InferenceServerClient(server.address) as client:
        inputs = []
        for name, (datatype, value) in {"title": ("UINT8", np.frombuffer(b"panda", np.uint8)), **values}.items():
            inputs.append(grpcclient.InferInput(name, list(value.shape), datatype))
            inputs[-1].set_data_from_numpy(value)

        async def once() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": "cover_generator", "inputs": inputs}

        return [error or answer async for answer, error in client.stream_infer(once(), stream_timeout=30)]


async def test_a_product_stays_as_it_is(triton_server: Triton) -> None:
    cut_out = Image.new("RGBA", (100, 60))
    cut_out.paste((10, 200, 30, 255), (20, 10, 80, 50))
    out = io.BytesIO()
    cut_out.save(out, "WEBP", lossless=True)
    *_, last = await request(triton_server, product=("UINT8", np.frombuffer(out.getvalue(), np.uint8)))
    saved = (last.as_numpy("image") == (10, 200, 30)).all(-1)
    height, width = (np.ptp(v) + 1 for v in np.nonzero(saved))
    assert saved.sum() == height * width
    assert width / height == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize(
    ("tensor", "array", "kind", "output"),
    [
        ("steps", np.array([0]), "INT64", r"\[INVALID_ARGUMENT\] steps=0; allowed: .*1\.\.100"),
        ("size", np.array([100, 100]), "INT64", r"\[INVALID_ARGUMENT\] size=\(100, 100\); allowed: "),
        ("size", np.array([256, 256]), "INT64", r"\[INVALID_ARGUMENT\] size=\(256, 256\); allowed: \(128, 128\)"),
        ("size", np.array([128]), "INT64", r"shape for input 'size'.*Expected \[2\], got \[1\]"),
        ("steps", np.array([4], np.float32), "FP32", "input 'steps' data-type is 'FP32'.*expects 'INT64'"),
        ("guided", np.array([0.5, 0.2]), "FP64", r"\[INVALID_ARGUMENT\] guided=\(0.5, 0.2\); allowed: "),
        ("guidance", np.array([np.nan]), "FP64", r"\[INVALID_ARGUMENT\] guidance=nan; allowed: "),
        ("title", np.array([0xFF, 0xFE], np.uint8), "UINT8", r"\[INVALID_ARGUMENT\] title of 2 bytes; allowed: UTF-8"),
        ("reference_lengths", np.array([7]), "INT64", r"\[INVALID_ARGUMENT\] reference_lengths=\[7\] for 0 bytes"),
        (
            "product",
            np.arange(9, dtype=np.uint8),
            "UINT8",
            r"\[INVALID_ARGUMENT\] product=9 bytes that are not such a picture",
        ),
        (
            "product",
            np.frombuffer(picture(), np.uint8),
            "UINT8",
            r"\[INVALID_ARGUMENT\] product has alpha 255\.\.255; allo",
        ),
        ("user_embedding", np.eye(8, dtype=np.float32), "FP32", "shape for input 'user_embedding'"),
        ("colour", np.array([1]), "INT64", "unexpected inference input 'colour'"),
    ],
)
async def test_tensors_that_no_client_of_ours_would_send(
    triton_server: Triton, tensor: str, array: np.ndarray, kind: str, output: str
) -> None:
    (answer,) = await request(triton_server, **{tensor: (kind, array)})
    with pytest.raises(Exception, match=output):
        raise answer


async def test_pictures_that_cannot_be_scored_are_refused_by_name(generator: TritonGenerator) -> None:
    for images, titles, tensor in (
        ([picture(), b"no picture"], ["a", "b"], "images"),
        ([picture(), picture()], ["a"], "title_lengths"),
        ([picture()], [""], "title_lengths"),
    ):
        with pytest.raises(InvalidInput) as refused:
            await generator.score(images, titles)
        assert refused.value.violations[0].field == tensor


async def test_another_checkpoint_behind_the_scorer_is_not_taken(triton_server: Triton) -> None:
    async with drawing(triton_server, space=SPACE ^ 1) as generator:
        with pytest.raises(Broken, match="cover_scorer embeds with the model"):
            await generator.score([picture()], ["panda"])


async def test_a_server_that_goes_silent_is_noticed_before_the_deadline(triton_server: Triton) -> None:
    proxy = Proxy(triton_server.port)
    generator = TritonGenerator([f"127.0.0.1:{proxy.port}"], TritonOptions(60.0, 2, SPACE, 0.2))
    watch = Watch()
    try:
        task = asyncio.create_task(generator.generate([brief(1, 100)], watch))
        await watch.begun.wait()
        proxy.half_open()
        scoring = generator.score([picture()], ["panda"])
        async with asyncio.timeout(20):
            for ended in await asyncio.gather(task, scoring, return_exceptions=True):
                assert isinstance(ended, Broken)
                assert "does not answer any more" in str(ended)
        with pytest.raises(Unavailable, match="does not answer"):
            await generator.generate([brief(1, 2)], silent)
        assert not generator.available
        proxy.mend()
        proxy.reset()  # who went silent stays so until the connection ends
        await until(lambda: generator.available, "the news")
        assert len(await generator.generate([brief(1, 2)], silent)) == 1
    finally:
        await generator.close()
        proxy.close()


async def test_a_slow_server_ends_at_the_deadline(triton_server: Triton) -> None:
    proxy = Proxy(triton_server.port)
    generator = TritonGenerator([f"127.0.0.1:{proxy.port}"], TritonOptions(1.0, 2, SPACE, 60.0))
    try:
        proxy.delay(0.8)
        with pytest.raises(Broken, match=r"no answer within 1 s"):
            await generator.generate([brief(1, 3)], silent)
    finally:
        await generator.close()
        proxy.close()


async def test_two_servers_share_the_work_and_one_takes_over(triton_server: Triton) -> None:
    """The second way to the server is cut in the middle of its covers, and comes back."""
    proxy = Proxy(triton_server.port)
    addresses = [triton_server.address, f"127.0.0.1:{proxy.port}"]
    generator = TritonGenerator(addresses, TritonOptions(60.0, 2, SPACE, 0.2))
    try:
        first, second = generator.endpoints.all
        alone = await generator.generate([brief(n, 3) for n in range(4)], silent)
        assert first.ended["done"] >= 2
        assert second.ended["done"] >= 2
        watch = Watch()
        task = asyncio.create_task(generator.generate([brief(n, 40) for n in range(4)], watch))
        await watch.begun.wait()
        assert second.outstanding == 2
        dropped = triton_server.metrics()["cancelled"]
        proxy.cut()
        assert len({m.image for m in await task}) == 4
        # a caller whose connection ends is gone too
        await until(lambda: triton_server.metrics()["cancelled"] == dropped + 2, "the news")
        assert second.ended["failed"] == 2
        await until(lambda: not second.reachable, "the news")
        before = first.ended["done"]
        again = await generator.generate([brief(n, 3) for n in range(4)], silent)
        assert [m.image for m in again] == [m.image for m in alone]
        assert first.ended["done"] == before + 5, "four drawn, all scored"
        proxy.mend()
        await until(lambda: second.available, "the news")
        before = second.ended["done"]
        await generator.generate([brief(n, 3) for n in range(4)], silent)
        assert second.ended["done"] > before
    finally:
        await generator.close()
        proxy.close()


async def test_a_closed_generator_says_so(generator: TritonGenerator) -> None:
    await generator.close()
    with pytest.raises(Unavailable, match="closed"):
        await generator.generate([brief(1)], silent)
