"""The step scheduler behind Triton: a request is a brief in tensors, its responses are progress and then the cover.

Thin: what a brief may say is icg's to judge, what goes first the scheduler's. Refusals begin with a word in brackets, because a
stream carries messages and no codes: [INVALID_ARGUMENT] names the tensor, [UNAVAILABLE] may be tried again, [CANCELLED], [INTERNAL].
"""

import json
import os
import queue
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

# Read when torch loads OpenMP: threads that spin while they wait make models beside each other ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import triton_python_backend_utils as pb
from icg import pictures as encoded
from icg import starter
from icg.brief import MAX_REFERENCES, MAX_TITLE, Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, Cancelled, IcgError, Shed
from icg.products.library import Library
from icg.reliability.judge import Judge, judgements
from icg.scheduler.engine import StepScheduler
from icg.scheduler.fast import Fast
from PIL import Image

MAX_BYTES = 32 << 20
BACKLOG = 256
LOOK_S = 0.02
"""Between looks at whose caller is gone, where there is always something to say; else once a step."""
NUMBERS = {"strength": float, "seed": int, "steps": int, "guidance": float, "user_guidance": float}
COUNTERS = ("ticks", "rows", "calls", "shared", "reading_hits", "reading_misses")


class TritonPythonModel:
    """One instance: a pipeline on its device, its scheduler, and a thread that talks, so that no step waits for Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint; CheckpointError keeps the model from being ready, and Triton says why."""
        given = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        root = os.environ.get("EYECATCH_CHECKPOINT") or None
        self.name = Path(root).name if root else starter.Starter.name
        reliability = Path(root or starter.path()) / "reliability"
        self.judge = Judge.from_pretrained(reliability) if reliability.is_dir() else None
        self.designer = starter.designer(root or starter.path())
        pipeline = CoverPipeline.from_pretrained(root or starter.path())
        if products := os.environ.get("EYECATCH_PRODUCTS"):
            pipeline.products = Library(products)
        fast = None
        if args["model_instance_kind"] == "GPU":
            device = torch.device("cuda", int(args["model_instance_device_id"]))
            pipeline.to(device)
            if self.judge:
                self.judge.to(device)
            fast = Fast.named(given["fast"])
        sizes = [tuple(map(int, size.split("x"))) for size in given["sizes"].split(",")]
        rows = int(given["rows"]) if given["rows"] else None
        self.timeout_s, self.levels = float(given["timeout_s"]), int(given["levels"])
        self.scheduler = StepScheduler(pipeline, sizes, rows, int(given["queue"]), fast=fast)
        self.live: dict[Any, threading.Event] = {}
        self.designing = ThreadPoolExecutor(1, "designing")
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.told: Counter[str] = Counter()
        self.metrics = _metrics(args["model_instance_name"])
        self.talker = threading.Thread(target=self._talk, name="talker")
        self.talker.start()

    def execute(self, requests: list[Any]) -> None:
        """Submit them and return: responses come when they are ready."""
        for request in requests:
            sender, asked = request.get_response_sender(), json.loads(request.parameters() or "{}")
            if asked.get("ping"):  # does this process live? Triton itself says ready also of one that is dead
                self.messages.put(partial(_send, sender, last=True, progress=torch.tensor([0, 1])))
                continue
            gone, seen = threading.Event(), list[Image.Image]()
            try:
                level = asked.get("level", (1 + self.levels) // 2)
                if level not in range(1, self.levels + 1):
                    raise BriefError(f"level={level}; allowed: 1..{self.levels}")
                target = encoded.text(_bytes(request, "target_kpi", 16), "target_kpi")
                due = time.monotonic() + (request.timeout() / 1e6 or self.timeout_s)
                how = {
                    "priority": -level,
                    "on_progress": partial(self._progress, sender, seen),
                    "on_preview": seen.append if asked.get("preview") else None,
                    "is_cancelled": gone.is_set,
                }
                begin = partial(self._begin, sender, _brief(request), target, due, how)
            except Exception as error:  # noqa: BLE001 - the boundary: whoever asked hears of it, and no other
                self.messages.put(partial(_refuse, sender, error))
                continue
            self.messages.put(partial(self.live.__setitem__, sender, gone))
            if target:
                self.designing.submit(begin)
            else:
                begin()

    def finalize(self) -> None:
        """Cancel what is live, tell its callers, stop."""
        self.scheduler.close()
        self.designing.shutdown()
        self.messages.put(None)
        self.talker.join()

    def _begin(self, sender: Any, brief: Brief, target: str, due: float, how: dict[str, Any]) -> None:
        """Into the line; a design for a new title takes seconds before that, which nobody else waits for."""
        try:
            brief = starter.towards(self.designer, brief, target)
            future = self.scheduler.submit(brief, timeout=due - time.monotonic(), **how)
        except Exception as error:  # noqa: BLE001 - the boundary: whoever asked hears of it, and no other
            self.messages.put(partial(self._gone, sender, error))
            return
        future.add_done_callback(lambda f: self.messages.put(partial(self._end, sender, brief, f)))

    def _gone(self, sender: Any, error: BaseException) -> None:
        del self.live[sender]
        _refuse(sender, error)

    def _talk(self) -> None:
        looked = 0.0
        while (message := self.messages.get()) is not None:
            try:
                message()
            except Exception as error:  # noqa: BLE001 - a consumer loop: one response that cannot be sent must not end all others
                pb.Logger.log_error(f"a response was lost: {error!r}")
            if self.messages.empty() or time.monotonic() > looked + LOOK_S:
                looked = time.monotonic()
                for sender, gone in self.live.items():
                    if sender.is_cancelled():
                        gone.set()
                self._measure()

    def _progress(self, sender: Any, seen: list[Image.Image], step: int, total: int) -> None:
        told = {"progress": torch.tensor([step, total])}
        if seen:
            told["preview"] = torch.from_numpy(np.asarray(seen.pop()).copy())
        # Triton takes most of a millisecond for each: covers must not wait behind them.
        if self.messages.qsize() < BACKLOG:
            self.messages.put(partial(_send, sender, last=False, **told))

    def _end(self, sender: Any, brief: Brief, future: "Future[Image.Image]") -> None:
        error = future.exception()
        if error is not None:
            return self._gone(sender, error)
        del self.live[sender]
        made = {
            "model": self.name,
            "adapter": self.name,
            "seed": brief.seed,
            "steps": brief.steps,
            "brief_digest": brief.digest(),
        }
        judged = judgements(self.judge, [future.result()], [brief])[0]
        made["judgement"] = asdict(judged) if judged else None
        pixels = torch.from_numpy(np.asarray(future.result()).copy())
        text = torch.frombuffer(bytearray(json.dumps(made).encode()), dtype=torch.uint8)
        _send(sender, last=True, image=pixels, provenance=text)

    def _measure(self) -> None:
        now = {name: getattr(self.scheduler.metrics, name) for name in COUNTERS}
        now |= {status.value: count for status, count in list(self.scheduler.metrics.ended.items())}
        for name, value in now.items():
            if value > self.told[name]:
                self.metrics(name).increment(value - self.told[name])
                self.told[name] = value
        if self.told["live"] != self.scheduler.metrics.live:
            self.told["live"] = self.scheduler.metrics.live
            self.metrics("live").set(self.told["live"])


def _metrics(instance: str) -> Any:
    """The metric of a name, on Triton's own page. Families live as long as the model."""
    steps = pb.MetricFamily("eyecatch_scheduler_total", "Counters of icg.scheduler.metrics.", pb.MetricFamily.COUNTER)
    ended = pb.MetricFamily("eyecatch_covers_total", "Requests by how they ended.", pb.MetricFamily.COUNTER)
    live = pb.MetricFamily("eyecatch_covers_live", "Requests waiting and running.", pb.MetricFamily.GAUGE)
    made: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in made:
            labels = {"instance": instance}
            if name == "live":
                made[name] = live.Metric(labels=labels)
            elif name in COUNTERS:
                made[name] = steps.Metric(labels=labels | {"what": name})
            else:
                made[name] = ended.Metric(labels=labels | {"status": name})
        return made[name]

    return find


def _tensor(request: Any, name: str) -> torch.Tensor | None:
    found = pb.get_input_tensor_by_name(request, name)
    return None if found is None else torch.from_dlpack(found.to_dlpack()).cpu()


def _brief(request: Any) -> Brief:
    """BriefError naming the tensor."""
    given: dict[str, Any] = {}
    for name, kind in NUMBERS.items():
        value = _tensor(request, name)
        if value is not None:
            given[name] = kind(value[0])
    user, size = _tensor(request, "user_embedding"), _tensor(request, "size")
    if (guided := _tensor(request, "guided")) is not None:
        given["guided"] = tuple(guided.tolist())
    if user is not None:
        given["user_embedding"] = user.numpy().copy()
    if size is not None:
        given["size"] = tuple(size.tolist())
    given["title"] = encoded.text(_bytes(request, "title", 4 * MAX_TITLE), "title")
    given["product_id"] = encoded.text(_bytes(request, "product_id", 64), "product_id")
    file, anchor = _bytes(request, "product", MAX_BYTES), _tensor(request, "reference_strength")
    product = encoded.decode(file, "product", "RGBA") if file else None
    wanted, inpaint = None if anchor is None else float(anchor[0]), _tensor(request, "inpaint")
    around = inpaint is not None and bool(inpaint[0])
    own = given["product_id"] and wanted is None and not around  # its weights stand in for the references
    given["references"] = () if own else _references(request)
    given |= starter.anchoring(given["references"], wanted, product, given.get("size", Brief.size), around)
    return Brief(**given)


def _bytes(request: Any, name: str, most: int) -> bytes:
    found = _tensor(request, name)
    if found is None:
        return b""
    if len(found) > most:
        raise BriefError(f"{name} of {len(found)} bytes; allowed: at most {most}")
    return found.numpy().tobytes()


def _references(request: Any) -> tuple[Image.Image, ...]:
    lengths = _tensor(request, "reference_lengths")
    sizes = [] if lengths is None else lengths.tolist()
    if len(sizes) > MAX_REFERENCES:
        raise BriefError(f"reference_lengths of {len(sizes)} pictures; allowed: at most {MAX_REFERENCES}")
    files = encoded.split(_bytes(request, "references", MAX_BYTES), sizes, "references", "reference_lengths")
    return tuple(encoded.decode(data, f"references[{n}]") for n, data in enumerate(files))


def _send(sender: Any, last: bool, **tensors: torch.Tensor) -> None:
    # By DLPack: the stub of this backend does not know arrays of numpy 2, and on a GPU nothing is copied.
    made = pb.InferenceResponse([pb.Tensor.from_dlpack(name, tensor) for name, tensor in tensors.items()])
    sender.send(made, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)


def _refuse(sender: Any, error: BaseException) -> None:
    kinds = ((Cancelled, "CANCELLED"), (Shed, "UNAVAILABLE"), (BriefError, "INVALID_ARGUMENT"))
    word = next((word for kind, word in kinds if isinstance(error, kind)), "INTERNAL")
    code = pb.TritonError.INVALID_ARG if word == "INVALID_ARGUMENT" else getattr(pb.TritonError, word)
    told = str(error) if isinstance(error, IcgError) else f"{type(error).__name__}: {error}"
    failed = pb.InferenceResponse(error=pb.TritonError(f"[{word}] {told}", code))
    sender.send(failed, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
