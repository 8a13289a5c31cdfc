"""The step scheduler behind Triton: a request is a brief in tensors, its responses are progress and then the cover.

Thin: icg.draw.ask makes the brief and says which kind of refusal an error is, the scheduler decides the order. A refusal begins with
its kind in brackets, because a stream carries messages and no codes: [INVALID_ARGUMENT] names the tensor, [NOT_FOUND] and
[FAILED_PRECONDITION] can never succeed here, [UNAVAILABLE] may be tried again, and there are [CANCELLED] and [INTERNAL].
"""

import json
import os
import queue
import threading
import time
from collections import Counter
from concurrent.futures import Future
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
from icg.draw import ask
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, IcgError
from icg.products.library import Library
from icg.reliability.judge import Judge, judgements
from icg.scheduler.engine import StepScheduler
from icg.scheduler.fast import Fast
from PIL import Image

MAX_BYTES = 32 << 20
BACKLOG = 256
LOOK_S = 0.02
"""Seconds between looks for callers that are gone while messages keep coming; otherwise there is one a step."""
CODES = {"FAILED_PRECONDITION": "UNSUPPORTED", "INVALID_ARGUMENT": "INVALID_ARG"}
"""Triton's own words where they differ."""
COUNTERS = ("ticks", "rows", "calls", "shared", "reading_hits", "reading_misses")


class TritonPythonModel:
    """One instance: a pipeline on its device, its scheduler, and a thread that sends responses, so that no step waits for Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint; CheckpointError keeps the model from being ready, and Triton says why."""
        given = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        root = os.environ.get("EYECATCH_CHECKPOINT") or None
        self.name = Path(root).name if root else starter.Starter.name
        reliability = Path(root or starter.path()) / "reliability"
        self.judge = Judge.from_pretrained(reliability) if reliability.is_dir() else None
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
        self.submitter = ask.Submitter(self.scheduler, starter.designer(root or starter.path()))
        self.live: dict[Any, threading.Event] = {}
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.counted: Counter[str] = Counter()
        self.metrics = _metrics(args["model_instance_name"])
        self.talker = threading.Thread(target=self._talk, name="talker")
        self.talker.start()

    def execute(self, requests: list[Any]) -> None:
        """Submit them and return: responses come when they are ready."""
        for request in requests:
            sender, parameters = request.get_response_sender(), json.loads(request.parameters() or "{}")
            if parameters.get("ping"):  # does this process live? Triton calls a model ready even if its process is dead
                self.messages.put(partial(_send, sender, last=True, progress=torch.tensor([0, 1])))
                continue
            gone, previews = threading.Event(), list[Image.Image]()
            try:
                level = parameters.get("level", (1 + self.levels) // 2)
                if level not in range(1, self.levels + 1):
                    raise BriefError(f"level={level}; allowed: 1..{self.levels}")
                values = _values(request)
                target = values.pop("target_kpi", "")
                brief = ask.brief(**values)
            except Exception as error:  # noqa: BLE001 - the boundary: the caller is told, and no other request is disturbed
                self.messages.put(partial(_refuse, sender, error))
                continue
            self.messages.put(partial(self.live.__setitem__, sender, gone))
            future = self.submitter.submit(
                brief,
                target,
                timeout=request.timeout() / 1e6 or self.timeout_s,
                is_cancelled=gone.is_set,
                priority=-level,
                on_progress=partial(self._progress, sender, previews),
                on_preview=previews.append if parameters.get("preview") else None,
            )
            future.add_done_callback(lambda f, sender=sender: self.messages.put(partial(self._end, sender, f)))

    def finalize(self) -> None:
        """Cancel what is live, tell its callers, stop."""
        self.submitter.close()
        self.scheduler.close()
        self.messages.put(None)
        self.talker.join()

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

    def _progress(self, sender: Any, previews: list[Image.Image], step: int, total: int) -> None:
        tensors = {"progress": torch.tensor([step, total])}
        if previews:
            tensors["preview"] = torch.from_numpy(np.asarray(previews.pop()).copy())
        # Triton takes most of a millisecond for each: covers must not wait behind them.
        if self.messages.qsize() < BACKLOG:
            self.messages.put(partial(_send, sender, last=False, **tensors))

    def _end(self, sender: Any, future: "Future[tuple[Brief, Image.Image]]") -> None:
        del self.live[sender]
        error = future.exception()
        if error is not None:
            return _refuse(sender, error)
        brief, cover = future.result()
        judgement = judgements(self.judge, [cover], [brief])[0]
        stated = ask.provenance(self.name, brief) | {"judgement": asdict(judgement) if judgement else None}
        text = torch.frombuffer(bytearray(json.dumps(stated).encode()), dtype=torch.uint8)
        _send(sender, last=True, image=torch.from_numpy(np.asarray(cover).copy()), provenance=text)

    def _measure(self) -> None:
        now = {name: getattr(self.scheduler.metrics, name) for name in COUNTERS}
        now |= {status.value: count for status, count in list(self.scheduler.metrics.ended.items())}
        for name, value in now.items():
            if value > self.counted[name]:
                self.metrics(name).increment(value - self.counted[name])
                self.counted[name] = value
        if self.counted["live"] != self.scheduler.metrics.live:
            self.counted["live"] = self.scheduler.metrics.live
            self.metrics("live").set(self.counted["live"])


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


def _values(request: Any) -> dict[str, Any]:
    """What icg.draw.ask.brief takes, and `target_kpi`: each tensor under its name. BriefError naming the tensor."""
    tensors = {each.name(): torch.from_dlpack(each.to_dlpack()).cpu() for each in request.inputs()}
    lengths = tensors.pop("reference_lengths", torch.zeros(0)).tolist()
    if len(lengths) > MAX_REFERENCES:
        raise BriefError(f"reference_lengths of {len(lengths)} pictures; allowed: at most {MAX_REFERENCES}")
    files = {name: _bytes(tensors.pop(name), name, MAX_BYTES) for name in ("references", "product") if name in tensors}
    files["references"] = encoded.split(files.get("references", b""), lengths, "references", "reference_lengths")
    user = {name: tensors.pop(name).numpy().copy() for name in ("user_embedding",) if name in tensors}
    return {"title": "", **{name: _knob(tensor, name) for name, tensor in tensors.items()}, **user, **files}


def _knob(tensor: torch.Tensor, name: str) -> Any:
    """Bytes are text, one number is itself, several are a tuple."""
    if tensor.dtype == torch.uint8:
        return encoded.text(_bytes(tensor, name, 4 * MAX_TITLE), name)
    return tensor.item() if len(tensor) == 1 else tuple(tensor.tolist())


def _bytes(tensor: torch.Tensor, name: str, most: int) -> bytes:
    if len(tensor) > most:
        raise BriefError(f"{name} of {len(tensor)} bytes; allowed: at most {most}")
    return tensor.numpy().tobytes()


def _send(sender: Any, last: bool, **tensors: torch.Tensor) -> None:
    # By DLPack: the stub of this backend does not know arrays of numpy 2, and on a GPU nothing is copied.
    made = pb.InferenceResponse([pb.Tensor.from_dlpack(name, tensor) for name, tensor in tensors.items()])
    sender.send(made, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)


def _refuse(sender: Any, error: BaseException) -> None:
    status = ask.status_name(error)
    text = str(error) if isinstance(error, IcgError) else f"{type(error).__name__}: {error}"
    failed = pb.InferenceResponse(
        error=pb.TritonError(f"[{status}] {text}", getattr(pb.TritonError, CODES.get(status, status)))
    )
    sender.send(failed, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
