"""Freshness: from produce to the answer that shows the event, through a broker, an ingest process, Redis and a server process."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import grpc
import numpy as np
from eyecatch.core.types import Action, Event
from eyecatch.messages import event_to_wire
from eyecatch.v1 import behavior_pb2, behavior_pb2_grpc, covers_pb2, covers_pb2_grpc
from kafka import KafkaProducer

from benchmarks import behaviour
from tests.broker import Broker
from tests.processes import owned

RATE, USERS = 1000, 2000
TICK_S = 0.005  # a few events at a time, evenly
ASK_S = 0.02  # and a tenth of the time passed, so that asking does not become the load
# Of each second's events so many are looked for in GetProfile, and so many of users never seen before in RecommendCovers.
PROFILES, COVERS = 20, 5
WARM_S = 3.0


@contextmanager
def process(*command: str, ready: str) -> Iterator[str]:
    """One of our commands; the address that it prints."""
    running = subprocess.Popen(
        owned(sys.executable, "-m", "eyecatch.cli", *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = running.stdout.readline()
        if ready not in line:
            raise RuntimeError(f"{command[0]} did not start: {line}")
        yield line.split()[-1]
    finally:
        running.terminate()
        running.wait(30)


class Probe:
    """Produces at RATE and asks until an answer shows the event."""

    def __init__(self, channel: grpc.aio.Channel, producer: KafkaProducer, topic: str) -> None:
        self._behavior = behavior_pb2_grpc.BehaviorServiceStub(channel)
        self._covers = covers_pb2_grpc.CoversServiceStub(channel)
        self._producer, self._topic = producer, topic
        self._asking: set[asyncio.Task[None]] = set()
        self.latencies: dict[str, list[float]] = {"profile": [], "covers": []}

    def send(self, event: Event) -> None:
        self._producer.send(self._topic, key=event.user_id.encode(), value=event_to_wire(event).SerializeToString())

    async def _profile(self, event: Event) -> bool:
        try:
            answer = await self._behavior.GetProfile(behavior_pb2.GetProfileRequest(user_id=event.user_id))
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                return False
            raise
        # The newest of the user; a profile keeps times to the millisecond.
        newest = answer.profile.recent_events[0].time
        return newest.seconds + newest.nanos * 1e-9 >= event.time - 1e-3

    async def _recommended(self, event: Event) -> bool:
        request = covers_pb2.RecommendCoversRequest(user_id=event.user_id, item_ids=[event.item_id])
        return (await self._covers.RecommendCovers(request)).personalised

    async def _until(self, what: str, sent: float, shows: Callable[[], Awaitable[bool]]) -> None:
        while not await shows():
            await asyncio.sleep(max(ASK_S, (time.perf_counter() - sent) / 10))
        self.latencies[what].append(time.perf_counter() - sent)

    def look(self, what: str, event: Event) -> None:
        ask = self._profile if what == "profile" else self._recommended
        task = asyncio.ensure_future(self._until(what, time.perf_counter(), lambda: ask(event)))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def run(self, seconds: float) -> float:
        """Events/s that were really produced."""
        rng = np.random.default_rng(3)
        actions = [Action(int(a)) for a in rng.choice(list(behaviour.SHARES), 997, p=list(behaviour.SHARES.values()))]
        began, sent = time.perf_counter(), 0
        while (now := time.perf_counter() - began) < seconds + WARM_S:
            due = int(now * RATE)
            for n in range(sent + 1, due + 1):
                slot, fresh = n % RATE, n % (RATE // COVERS) == 0
                user = f"new-{n}" if fresh else f"user-{rng.integers(USERS):08}"
                item = int(rng.integers(behaviour.ITEMS))
                probed = fresh or slot % (RATE // PROFILES) == 1
                action = Action.LIKE if probed else actions[n % len(actions)]
                event = Event(f"fresh-{began:.0f}-{n}", user, f"item-{item:05}", action, time.time())
                self.send(event)
                if now > WARM_S and probed:
                    self.look("covers" if fresh else "profile", event)
            sent = due
            await asyncio.sleep(TICK_S)
        async with asyncio.timeout(30):
            await asyncio.gather(*self._asking)
        return sent / (seconds + WARM_S)


def freshness(broker: Broker, store: str, folder: str, seconds: float) -> dict[str, float]:
    """Percentiles in seconds, over GetProfile and RecommendCovers together and each alone."""
    topic = broker.create(partitions=4)
    flags = ("--kafka", broker.address, "--events-topic", topic, "--store", store, "--data-dir", folder)
    served = ("--no-preload", "--clusters-every-s", "0", "--reencode-every-s", "0")
    ingest = process("ingest", *flags, "--health-port", "0", "--session-s", "3", ready="health on")
    server = process("serve", *flags, *served, "--port", "0", ready="ready on")
    with ingest, server as address:

        async def run() -> tuple[float, Probe]:
            producer = KafkaProducer(bootstrap_servers=broker.address, acks=1, linger_ms=0)
            async with grpc.aio.insecure_channel(address) as channel:
                probe = Probe(channel, producer, topic)
                first = Event(f"first-{time.time()}", "first", "item-00001", Action.LIKE, time.time())
                probe.send(first)
                probe.look("covers", first)  # the group is joined and all is warm when it is seen
                await asyncio.gather(*probe._asking)
                probe.latencies["covers"].clear()
                rate = await probe.run(seconds)
            producer.close()
            return rate, probe

        rate, probe = asyncio.run(run())
    every = {
        "": probe.latencies["profile"] + probe.latencies["covers"],
        **{f"{k}_": v for k, v in probe.latencies.items()},
    }
    figures = {
        f"freshness_{kind}p{q}_s": float(np.percentile(values, q))
        for kind, values in every.items()
        for q in (50, 95, 99)
    }
    return figures | {"freshness_rate": rate, "freshness_samples": len(every[""])}
