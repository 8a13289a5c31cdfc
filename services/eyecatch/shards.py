"""A job in shards: each has a content key, and its result is a file of that name, so a job that was killed does only what is missing.

Shards run in this process, or on a Ray cluster whose workers may die. Only this process writes results; a worker returns bytes and, if it
stores images, stores them by their content. So a shard that runs twice changes nothing. Knows no store, no ranker and no generator.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
from icg.errors import IcgError
from numpy.typing import NDArray

from eyecatch.core.errors import InternalError, InvalidInput, NotReady, Unavailable

T = TypeVar("T")

LOCAL = "local"
TRIES = 20
"""A shard whose worker died so often ends the job: it is the shard that kills, not chance."""
STARTS = 3
"""Attempts to start a cluster of this machine."""
AHEAD = 2
"""Shards submitted for each worker, so that none waits for this process."""

Work = Callable[[Any], bytes]
"""Payload of a shard -> its result, the same for the same payload. It must survive pickling, to travel to workers."""


@dataclass(frozen=True, eq=False)
class Shard:
    """key: a digest of all that the result depends on (`key_of`)."""

    key: str
    payload: Any


def key_of(*parts: bytes | str) -> str:
    """A content key of 32 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:32]


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name as the bytes of an npz file."""
    out = BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    """What `packed` got. Raises ValueError for objects, which are never unpickled."""
    with np.load(BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


class ShardResults:
    """Results as files of a folder, each whole or absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def read(self, key: str) -> bytes:
        return self._path(key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_bytes(data)
        os.replace(part, path)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key


@lru_cache(maxsize=4)
def opened(make: Callable[[], T]) -> T:
    """What `make` (hashable, equal for equal parts) returned the first time in this process: a worker loads a model once."""
    return make()


def waited(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine on one loop of this process, in a thread of its own: clients of servers must not change their loop."""
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="eyecatch-shards", daemon=True).start()
    return loop


class Runner(Protocol):
    """Runs shards in any order and yields (key, result) of each as it ends."""

    def __call__(self, work: Work, shards: Iterable[Shard]) -> Iterator[tuple[str, bytes]]: ...


def here(work: Work, shards: Iterable[Shard]) -> Iterator[tuple[str, bytes]]:
    """In this process, one after the other."""
    for shard in shards:
        yield shard.key, work(shard.payload)


def run(
    work: Work,
    shards: Iterable[Shard],
    results: ShardResults,
    runner: Runner = here,
    on_done: Callable[[int], None] = lambda done: None,
) -> None:
    """Run the shards without a result, each key once. `on_done` gets the number of shards that have run. Raises what `work` raises."""
    keys: set[str] = set()

    def missing() -> Iterator[Shard]:
        for shard in shards:
            if shard.key not in keys and shard.key not in results:
                keys.add(shard.key)
                yield shard

    for done, (key, data) in enumerate(runner(work, missing()), 1):
        results.write(key, data)
        on_done(done)


class OnRay:
    """A Runner on a Ray cluster, which the `with` block joins, or starts and ends.

    address: "local" for a cluster of this machine's cores (or `cpus`), else of a cluster: "auto", host:port or ray://host:port. Each shard
    takes one core, and with `gpu` also one GPU if the cluster has any. Workers need the same version of Eyecatch. Raises NotReady without
    the library, Unavailable if the cluster does not answer.
    """

    def __init__(self, address: str, cpus: int | None = None, gpu: bool = False) -> None:
        if not address:
            raise InvalidInput.of("ray", address, "local, auto, host:port or ray://host:port")
        self._address, self._cpus, self._gpu = address, cpus, gpu
        self._ray: Any = None

    def __enter__(self) -> "OnRay":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a job reports nothing to anybody
        try:
            import ray
        except ModuleNotFoundError as error:
            raise NotReady("--ray needs the Ray library: pip install 'eyecatch[ray]'") from error
        self._ray = ray
        self._join()
        return self

    def _join(self) -> None:
        local = {"num_cpus": self._cpus, "include_dashboard": False} if self._address == LOCAL else {}
        for left in reversed(range(STARTS if local else 1)):
            try:
                self._ray.init(address=self._address, logging_level="ERROR", log_to_driver=False, **local)
                return
            except Exception as error:  # Ray raises no narrower one if its node takes over 30 s to start
                self._ray.shutdown()
                if not left:
                    raise Unavailable(f"--ray {self._address}: no cluster answers ({error})") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def __call__(self, work: Work, shards: Iterable[Shard]) -> Iterator[tuple[str, bytes]]:
        ray = self._ray
        gpu = self._gpu and ray.cluster_resources().get("GPU", 0) >= 1
        task = ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=TRIES)(_run_on_worker)
        shared, running = ray.put(work), dict[Any, str]()

        def room() -> int:
            """Machines may join later, so this is asked each time."""
            return AHEAD * max(1, int(ray.cluster_resources().get("GPU" if gpu else "CPU", 1)))

        def ended() -> Iterator[tuple[str, bytes]]:
            for one in ray.wait(list(running), num_returns=1)[0]:
                key = running.pop(one)
                yield key, self._result(one, key)

        for shard in shards:
            if len(running) >= room():
                yield from ended()
            running[task.remote(shared, shard.payload)] = shard.key
        while running:
            yield from ended()

    def _result(self, task: Any, key: str) -> bytes:
        errors = self._ray.exceptions
        try:
            result: bytes = self._ray.get(task)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as died:
            raise InternalError(f"shard {key}: its worker died {TRIES + 1} times") from died
        except errors.RayTaskError as error:
            raise error.cause from error
        return result


def _run_on_worker(work: Work, payload: Any) -> bytes:
    try:
        return work(payload)
    except IcgError as error:  # some of these cannot be pickled
        raise NotReady(str(error)) from None
