"""The step scheduler as a Triton model: a request is a brief in tensors; its responses are progress, then the cover.

icg.draw.ask builds the brief and names the kind of an error; the scheduler decides the order. An error starts with its kind in
brackets, because a stream has messages but no codes: [INVALID_ARGUMENT] names the tensor, [NOT_FOUND] and [FAILED_PRECONDITION] can
never succeed here, [UNAVAILABLE] may be retried; others are [CANCELLED] and [INTERNAL].
"""

import json
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

# torch's OpenMP reads it: threads that spin while they wait make models on one machine ten times slower.
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
from icg.gates.gates import gates
from icg.products.library import Library
from icg.reliability.judge import Judge, judgements
from icg.scheduler.deployment import on_device
from icg.scheduler.fast import Fast
from PIL import Image

MAX_BYTES = 32 << 20
BACKLOG = 256
POLL_S = 0.02
"""Seconds between checks for cancelled requests while messages keep coming; otherwise there is one for each step."""
CODES = {"FAILED_PRECONDITION": "UNSUPPORTED", "INVALID_ARGUMENT": "INVALID_ARG"}
"""Names of codes that differ in Triton."""
COUNTERS = ("ticks", "rows", "calls", "shared", "reading_hits", "reading_misses")


class TritonPythonModel:
    """One instance: a pipeline on its device, its scheduler, and a thread that sends responses, so that no step waits for Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint. After a CheckpointError the model is not ready, and Triton reports the error."""
        options = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        root = os.environ.get("EYECATCH_CHECKPOINT") or None
        self.name = Path(root).name if root else starter.Starter.name
        self.root = Path(root or starter.path())
        reliability = self.root / "reliability"
        self.judge = Judge.from_pretrained(reliability) if reliability.is_dir() else None
        space = os.environ.get("EYECATCH_SPACE")
        self.taste = starter.taste_of(self.root, Path(space) if space else None)
        pipeline = CoverPipeline.from_pretrained(self.root)
        if products := os.environ.get("EYECATCH_PRODUCTS"):
            pipeline.products = Library(products)
        device, fast = "cpu", None
        if args["model_instance_kind"] == "GPU":
            device, fast = f"cuda:{args['model_instance_device_id']}", Fast.named(options["fast"])
            if self.judge:
                self.judge.to(device)
        self.settings = pipeline.settings
        sizes = {"sizes": [tuple(map(int, size.split("x"))) for size in options["sizes"].split(",") if size]}
        rows = int(options["rows"]) if options["rows"] else None
        self.timeout_s, self.levels = float(options["timeout_s"]), int(options["levels"])
        named = sizes if sizes["sizes"] else {}
        self.scheduler = on_device(pipeline, device, rows=rows, queue=int(options["queue"]), fast=fast, **named)
        self.submitter = ask.Submitter(self.scheduler, starter.designer(self.root))
        self.judging = ThreadPoolExecutor(1, "judging")
        self.live: dict[Any, threading.Event] = {}
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.reported: Counter[str] = Counter()
        self.metrics = _metrics(args["model_instance_name"])
        self.sender = threading.Thread(target=self._send_messages, name="sender")
        self.sender.start()

    def execute(self, requests: list[Any]) -> None:
        """Submit the requests and return; responses are sent when they are ready."""
        for request in requests:
            sender, parameters = request.get_response_sender(), json.loads(request.parameters() or "{}")
            if parameters.get(
                "ping"
            ):  # shows that this process is alive: Triton calls a model ready even if its process is dead
                self.messages.put(partial(_send, sender, last=True, progress=torch.tensor([0, 1])))
                continue
            cancelled, previews = threading.Event(), list[Image.Image]()
            try:
                level = parameters.get("level", (1 + self.levels) // 2)
                if level not in range(1, self.levels + 1):
                    raise BriefError(f"level={level}; allowed: 1..{self.levels}")
                values = _values(request, self.taste)
                target = values.pop("target_kpi", "")
                brief = ask.brief(settings=self.settings, **values)
            except Exception as error:  # noqa: BLE001 - the boundary: the caller gets the error, and other requests go on
                self.messages.put(partial(_refuse, sender, error))
                continue
            self.messages.put(partial(self.live.__setitem__, sender, cancelled))
            future = self.submitter.submit(
                brief,
                target,
                timeout=request.timeout() / 1e6 or self.timeout_s,
                is_cancelled=cancelled.is_set,
                priority=-level,
                on_progress=partial(self._progress, sender, previews),
                on_preview=previews.append if parameters.get("preview") else None,
            )
            future.add_done_callback(lambda f, sender=sender: self.judging.submit(self._judge, sender, f))

    def finalize(self) -> None:
        """Cancel the live requests, send their errors, and stop."""
        self.submitter.close()
        self.scheduler.close()
        self.judging.shutdown()
        self.messages.put(None)
        self.sender.join()

    def _send_messages(self) -> None:
        last_check = 0.0
        while (message := self.messages.get()) is not None:
            try:
                message()
            except Exception as error:  # noqa: BLE001 - a consumer loop: a response that cannot be sent must not end the others
                pb.Logger.log_error(f"a response was lost: {error!r}")
            if self.messages.empty() or time.monotonic() > last_check + POLL_S:
                last_check = time.monotonic()
                for sender, cancelled in self.live.items():
                    if sender.is_cancelled():
                        cancelled.set()
                self._measure()

    def _progress(self, sender: Any, previews: list[Image.Image], step: int, total: int) -> None:
        tensors = {"progress": torch.tensor([step, total])}
        if previews:
            tensors["preview"] = torch.from_numpy(np.asarray(previews.pop()).copy())
        # Triton takes almost a millisecond for each response: covers must not wait for progress.
        if self.messages.qsize() < BACKLOG:
            self.messages.put(partial(_send, sender, last=False, **tensors))

    def _judge(self, sender: Any, future: "Future[tuple[Brief, Image.Image]]") -> None:
        """Judges a cover on a thread of its own: neither steps nor messages wait for it."""
        try:
            brief, cover = future.result()
            judgement = judgements(self.judge, [cover], [brief])[0]
            passed = gates(cover, brief, self.root)
            provenance = ask.provenance(self.name, brief, cover) | {
                "judgement": asdict(judgement) if judgement else None,
                "gates": asdict(passed) | {"refusals": passed.failures()},
            }
        except Exception as error:  # noqa: BLE001 - the boundary: the caller gets the error, and other requests go on
            self.messages.put(partial(self._end, sender, partial(_refuse, sender, error)))
            return
        text = torch.frombuffer(bytearray(json.dumps(provenance).encode()), dtype=torch.uint8)
        image = torch.from_numpy(np.asarray(cover).copy())
        self.messages.put(partial(self._end, sender, partial(_send, sender, last=True, image=image, provenance=text)))

    def _end(self, sender: Any, answer: Callable[[], None]) -> None:
        del self.live[sender]
        answer()

    def _measure(self) -> None:
        now = {name: getattr(self.scheduler.metrics, name) for name in COUNTERS}
        now |= {status.value: count for status, count in list(self.scheduler.metrics.ended.items())}
        for name, value in now.items():
            if value > self.reported[name]:
                self.metrics(name).increment(value - self.reported[name])
                self.reported[name] = value
        if self.reported["live"] != self.scheduler.metrics.live:
            self.reported["live"] = self.scheduler.metrics.live
            self.metrics("live").set(self.reported["live"])


def _metrics(instance: str) -> Any:
    """A function from a name to its metric on Triton's metrics page."""
    steps = pb.MetricFamily("eyecatch_scheduler_total", "Counters of icg.scheduler.metrics.", pb.MetricFamily.COUNTER)
    ended = pb.MetricFamily("eyecatch_covers_total", "Requests by outcome.", pb.MetricFamily.COUNTER)
    live = pb.MetricFamily("eyecatch_covers_live", "Requests that wait or run.", pb.MetricFamily.GAUGE)
    metrics: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in metrics:
            labels = {"instance": instance}
            if name == "live":
                metrics[name] = live.Metric(labels=labels)
            elif name in COUNTERS:
                metrics[name] = steps.Metric(labels=labels | {"what": name})
            else:
                metrics[name] = ended.Metric(labels=labels | {"status": name})
        return metrics[name]

    return find


def _values(request: Any, taste: Any) -> dict[str, Any]:
    """Arguments of icg.draw.ask.brief, and `target_kpi`, from the tensors by name. taste: that of a Starter.

    Raises BriefError naming the tensor.
    """
    tensors = {each.name(): torch.from_dlpack(each.to_dlpack()).cpu() for each in request.inputs()}
    lengths = tensors.pop("reference_lengths", torch.zeros(0)).tolist()
    if len(lengths) > MAX_REFERENCES:
        raise BriefError(f"reference_lengths of {len(lengths)} pictures; allowed: at most {MAX_REFERENCES}")
    files = {name: _bytes(tensors.pop(name), name, MAX_BYTES) for name in ("references", "product") if name in tensors}
    files["references"] = encoded.split(files.get("references", b""), lengths, "references", "reference_lengths")
    user = {name: taste(tensors.pop(name).numpy().copy()) for name in ("user_embedding",) if name in tensors}
    return {"title": "", **{name: _knob(tensor, name) for name, tensor in tensors.items()}, **user, **files}


def _knob(tensor: torch.Tensor, name: str) -> Any:
    """The value of a tensor: bytes are text, one number is a scalar, several numbers are a tuple."""
    if tensor.dtype == torch.uint8:
        return encoded.text(_bytes(tensor, name, 4 * MAX_TITLE), name)
    return tensor.item() if len(tensor) == 1 else tuple(tensor.tolist())


def _bytes(tensor: torch.Tensor, name: str, most: int) -> bytes:
    if len(tensor) > most:
        raise BriefError(f"{name} of {len(tensor)} bytes; allowed: at most {most}")
    return tensor.numpy().tobytes()


def _send(sender: Any, last: bool, **tensors: torch.Tensor) -> None:
    # By DLPack: the stub of this backend does not support arrays of numpy 2, and on a GPU nothing is copied.
    response = pb.InferenceResponse([pb.Tensor.from_dlpack(name, tensor) for name, tensor in tensors.items()])
    sender.send(response, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)


def _refuse(sender: Any, error: BaseException) -> None:
    status = ask.status_name(error)
    text = str(error) if isinstance(error, IcgError) else f"{type(error).__name__}: {error}"
    failed = pb.InferenceResponse(
        error=pb.TritonError(f"[{status}] {text}", getattr(pb.TritonError, CODES.get(status, status)))
    )
    sender.send(failed, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
