"""Servers that answer what no cover_generator would: a wrong model behind a real Triton, and answers put together by hand."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.generators import triton_wire as wire
from eyecatch.generators.triton import TritonGenerator, TritonOptions
from eyecatch.generators.triton_endpoints import FAILURES, PAUSE, Breaker
from tritonclient.grpc import InferResult, service_pb2

from tests import triton
from tests.triton import REPOSITORY, Triton
from tests.unit.generators.test_local import brief
from tests.waiting import until

pytestmark = pytest.mark.server

MODEL = '''
import triton_python_backend_utils as pb

class TritonPythonModel:
    """Takes what cover_generator takes. Answers nothing, then emptily, then with errors of its own, and after six requests not at all."""

    def initialize(self, args):
        self.calls = 0

    def execute(self, requests):
        for request in requests:
            sender, last = request.get_response_sender(), pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            if "ping" in request.parameters():
                sender.send(pb.InferenceResponse([]), flags=last)
                continue
            self.calls += 1
            if self.calls == 1:
                sender.send(flags=last)
            elif self.calls == 2:
                sender.send(pb.InferenceResponse([]), flags=last)
            elif self.calls <= 6:
                sender.send(pb.InferenceResponse(error=pb.TritonError("CUDA out of memory")), flags=last)
'''


@pytest.fixture
def wrong_model(tmp_path: Path) -> Iterator[Triton]:
    folder = tmp_path / "repository" / "cover_generator"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(MODEL)
    config = shutil.copy(REPOSITORY / "cover_generator" / "config.pbtxt", folder)
    text = Path(config).read_text()
    Path(config).write_text(text[: text.index("# The model is ready after")])
    with triton.running(folder.parent) as server:
        yield server.ready()


async def test_a_wrong_model_is_unavailable_and_then_left_alone(wrong_model: Triton) -> None:
    generator = TritonGenerator([wrong_model.address], TritonOptions(20.0, 2, 7, 0.2))
    (endpoint,) = generator.endpoints.all
    try:
        for output in ("without an image", "image is missing", "CUDA out of memory"):
            assert not endpoint.breaker.open
            with pytest.raises(Unavailable, match=output) as failed:
                await generator.generate([brief(1, 2)], lambda *_: None)
            assert wrong_model.address in str(failed.value)
        assert endpoint.breaker.open
        assert not generator.available
        with pytest.raises(Unavailable, match="fails") as refused:
            await generator.generate([brief(1, 2)], lambda *_: None)
        assert refused.value.retry_after_s >= 1
        assert endpoint.ended == {"failed": FAILURES}, "the last was not asked"
        with pytest.raises(Unavailable):  # it has no cover_scorer
            await generator.score([b"x"], ["x"])
    finally:
        await generator.close()


async def test_a_model_process_that_is_killed_ends_what_waits_for_it(wrong_model: Triton) -> None:
    """Triton goes on calling such a model ready, answers nobody and starts no other process.

    Or it aborts, if the process dies with a lock of their shared memory in its hand.
    """
    for _ in range(2):
        generator = TritonGenerator([wrong_model.address], TritonOptions(60.0, 2, 7, 0.2))
        (endpoint,) = generator.endpoints.all
        try:
            for _ in range(FAILURES):
                with pytest.raises(Unavailable):
                    await generator.generate([brief(1, 2)], lambda *_: None)
        finally:
            await generator.close()
    generator = TritonGenerator([wrong_model.address], TritonOptions(60.0, 2, 7, 0.2))
    (endpoint,) = generator.endpoints.all
    try:
        task = asyncio.create_task(generator.generate([brief(1, 2)], lambda *_: None))
        (process,) = wrong_model.model_processes()
        await until(lambda: endpoint.outstanding > 0, "the request on its way")
        assert await endpoint.alive("cover_generator", 30.0), "it is asked by now, and lives"
        os.kill(process, signal.SIGKILL)
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match=r"does not answer any more|Socket closed"):
                await task
        await until(lambda: not generator.available, "the pings lost")
        if wrong_model.process.poll() is None:
            assert ") Z " in Path(f"/proc/{process}/stat").read_text(), "a zombie, which a probe must not count"
            assert await endpoint.client.is_model_ready("cover_generator"), "which is why we ask the model itself"
    finally:
        await generator.close()


def answer(**tensors: tuple[str, np.ndarray]) -> InferResult:
    message = service_pb2.ModelInferResponse()
    for name, (datatype, array) in tensors.items():
        message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_output_contents.append(array.tobytes())
    return InferResult(message)


def text(value: object) -> tuple[str, np.ndarray]:
    return "UINT8", np.frombuffer(json.dumps(value).encode(), np.uint8)


GOOD = {"model": "m", "adapter": "a", "seed": 1, "steps": 2, "brief_digest": "d"}
PIXELS = "UINT8", np.zeros((2, 4, 3), np.uint8)


def test_progress_is_a_step_of_so_many() -> None:
    assert wire.progress(answer(progress=("INT64", np.array([3, 8])))) == (3, 8)
    assert wire.progress(answer()) is None
    for numbers in ([9, 8], [-1, 8], [0, 0], [1], []):
        with pytest.raises(wire.Broken, match="progress"):
            wire.progress(answer(progress=("INT64", np.array(numbers, np.int64))))


def test_a_cover_is_pixels_with_their_provenance() -> None:
    pixels, updates, available, probabilities, gates, refusals = wire.cover(answer(image=PIXELS, provenance=text(GOOD)))
    assert pixels.shape == (2, 4, 3)
    assert updates == GOOD
    assert (available, dict(probabilities), dict(gates), refusals) == (None, {}, {}, None)
    placed = GOOD | {"place": [0.7, 0.5, 0.52]}
    assert wire.cover(answer(image=PIXELS, provenance=text(placed))).provenance == placed
    for image, provenance, output in (
        (("FP32", np.zeros((2, 4, 3), np.float32)), text(GOOD), "image"),
        (("UINT8", np.zeros((2, 4), np.uint8)), text(GOOD), "image"),
        (("UINT8", np.zeros((0, 0, 3), np.uint8)), text(GOOD), "image"),
        (PIXELS, text(GOOD | {"seed": "1"}), "provenance"),
        (PIXELS, text({"model": "m"}), "provenance"),
        (PIXELS, text([1]), "provenance"),
        *((PIXELS, text(GOOD | {"place": bad}), "provenance") for bad in (0.5, [0.5], [0.5, 0.5, 2], [0.5, 0.5, "x"])),
        (PIXELS, ("UINT8", np.frombuffer(b"\xff{", np.uint8)), "provenance"),
    ):
        with pytest.raises(wire.Broken, match=output):
            wire.cover(answer(image=image, provenance=provenance))
    torn = answer(image=PIXELS, provenance=text(GOOD))
    torn.get_response().raw_output_contents[0] = b"x"
    with pytest.raises(wire.Broken, match="image"):
        wire.cover(torn)


JUDGED = {"available": False, "probabilities": {"available": 0.25, "space_mismatch": 0.75}}


@pytest.mark.parametrize("available", [True, False])
def test_a_judgement_comes_with_the_cover(available: bool) -> None:
    updates = GOOD | {"judgement": JUDGED | {"available": available}}
    result = wire.cover(answer(image=PIXELS, provenance=text(updates)))
    assert result.provenance == GOOD, "it is no provenance"
    assert (result.available, dict(result.probabilities)) == (available, JUDGED["probabilities"])


PASSED = {"domain": 1, "fidelity": 0.31, "artifacts": 0.75, "refusals": ["fidelity=0.31; allowed: at least 0.8"]}


def test_gates_come_with_the_cover() -> None:
    result = wire.cover(answer(image=PIXELS, provenance=text(GOOD | {"gates": PASSED})))
    assert result.provenance == GOOD, "they are no provenance"
    assert result.gates == {"domain": 1.0, "fidelity": 0.31, "artifacts": 0.75}
    assert result.refusals == ("fidelity=0.31; allowed: at least 0.8",)


@pytest.mark.parametrize(
    "change",
    [
        {"domain": 2},
        {"fidelity": None},
        {"artifacts": "1"},
        {"refusals": "no"},
        {"refusals": [1]},
        {"refusals": ["x"] * 9},
    ],
)
def test_gates_of_another_form_are_garbage(change: dict[str, object]) -> None:
    with pytest.raises(wire.Broken, match="gates"):
        wire.cover(answer(image=PIXELS, provenance=text(GOOD | {"gates": PASSED | change})))
    with pytest.raises(wire.Broken, match="gates"):
        wire.cover(answer(image=PIXELS, provenance=text(GOOD | {"gates": [1]})))


def test_no_judgement_is_none() -> None:
    for updates in (GOOD, GOOD | {"judgement": None}):
        result = wire.cover(answer(image=PIXELS, provenance=text(updates)))
        assert (result.available, dict(result.probabilities)) == (None, {})


@pytest.mark.parametrize(
    "judgement",
    [
        "available",
        0.5,
        True,
        [],
        {},
        {"available": True},
        {"probabilities": JUDGED["probabilities"]},
        JUDGED | {"available": None},
        JUDGED | {"available": 1},
        JUDGED | {"available": "yes"},
        JUDGED | {"probabilities": None},
        JUDGED | {"probabilities": [0.5, 0.5]},
        JUDGED | {"probabilities": {}},
        JUDGED | {"probabilities": {"space_mismatch": 1.0}},
        *(
            JUDGED | {"probabilities": {"available": p, "space_mismatch": 0.5}}
            for p in (-0.01, 1.01, float("nan"), float("inf"), True, "0.5", None)
        ),
        JUDGED | {"probabilities": {"available": 0.5, "space_mismatch": float("nan")}},
    ],
    ids=repr,
)
def test_a_judgement_that_is_none_is_garbage(judgement: object) -> None:
    with pytest.raises(wire.Broken, match=r"garbage: judgement .*; allowed: available, and probabilities"):
        wire.cover(answer(image=PIXELS, provenance=text(GOOD | {"judgement": judgement})))


def test_scores_are_finite_of_our_width_and_of_our_model() -> None:
    good = {
        "embeddings": ("FP32", np.eye(2, 64, dtype=np.float32)),
        "rewards": ("FP64", np.array([[0.5, 1.0], [0.25, 2.0]])),
        "reward_names": ("UINT8", np.frombuffer(b"relevance\naesthetic", np.uint8)),
        "space": ("INT64", np.array([7])),
    }
    result = wire.scores(answer(**good), 2, 7)
    assert result[1].rewards == {"relevance": 0.25, "aesthetic": 2.0}
    for name, wrong in (
        ("embeddings", ("FP32", np.full((2, 64), np.nan, np.float32))),
        ("embeddings", ("FP32", np.eye(2, 32, dtype=np.float32))),
        ("embeddings", ("FP32", np.eye(3, 64, dtype=np.float32))),
        ("rewards", ("FP64", np.array([[0.5, np.inf], [0.25, 2.0]]))),
        ("rewards", ("FP64", np.array([0.5, 1.0]))),
        ("reward_names", ("UINT8", np.frombuffer(b"relevance", np.uint8))),
        ("space", ("INT64", np.array([8]))),
    ):
        with pytest.raises(wire.Broken, match=name if name != "space" else "our checkpoint's"):
            wire.scores(answer(**(good | {name: wrong})), 2, 7)


def test_refusals_are_told_apart() -> None:
    with pytest.raises(InvalidInput) as refused:
        wire.refuse("[request id: x] [INVALID_ARGUMENT] references[1] of 9 bytes cannot be decoded; allowed: PNG")
    assert refused.value.violations[0].field == "references"
    with pytest.raises(wire.Busy):
        wire.refuse("[UNAVAILABLE] queue=256 requests; allowed: 256, and all go before this one")
    for broken in ("[INTERNAL] OutOfMemoryError: CUDA", "unexpected shape for input 'size'", "[CANCELLED] closed", ""):
        with pytest.raises(wire.Broken):
            wire.refuse(broken)


def test_the_breaker_opens_tries_once_and_closes() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)

    def fail() -> None:
        breaker.begin()
        breaker.failed()

    fail()
    breaker.worked()
    for _ in range(FAILURES):
        assert breaker.allows()
        fail()
    assert breaker.open
    assert not breaker.allows()
    pause = PAUSE.first_s
    for _ in range(8):
        assert breaker.wait_s == pause
        now += pause
        assert breaker.allows()
        breaker.begin()
        assert not breaker.allows(), "one trial at a time"
        breaker.undecided()
        assert breaker.allows()
        fail()
        pause = min(2 * pause, PAUSE.last_s)
    now += pause
    breaker.begin()
    breaker.worked()
    assert breaker.allows()
    assert not breaker.open
