"""Records into a topic, awaited until the brokers have them: the EventSink of a cluster, and the way to the dead letters."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from kafka import KafkaProducer

from eyecatch.core.errors import EyecatchError, Overloaded
from eyecatch.core.types import Event
from eyecatch.kafka.client import Options, connected, translate, translated
from eyecatch.kafka.records import CONTENT_TYPE, Headers
from eyecatch.messages import event_to_wire

# A dead letter has the size of the record it was, whatever that is; the broker's own limit decides.
MAX_REQUEST_BYTES = 64 << 20
LINGER_MS = 2
# Calls that wait for a slow broker must leave room for those that need none.
MAX_WAITING = 64
PROTOBUF = (CONTENT_TYPE, b"application/x-protobuf")


class Outgoing(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Outbox(Protocol):
    """Where records are handed over; Producer is the real one."""

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Returns when the brokers have all of them. Raises Unavailable, NotReady."""


class Producer:
    """Connects when first used, so that a server starts without its brokers. For one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._connection: asyncio.Future[KafkaProducer] | None = None
        self._waiting = 0

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Returns when all in-sync replicas have all records.

        Raises Unavailable and NotReady, when some may be there; Overloaded when MAX_WAITING calls wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} calls wait for the broker already")
        self._waiting += 1
        try:
            connection = await self._connected()
            loop = asyncio.get_running_loop()
            # In a thread: it waits for metadata of the topic, and for room when the brokers are slow.
            handed = await asyncio.to_thread(_hand_over, connection, records)
            acknowledged = [_awaitable(future, loop) for future in handed]
            answers = await asyncio.gather(*acknowledged, return_exceptions=True)
        finally:
            self._waiting -= 1
        failed = next((answer for answer in answers if isinstance(answer, Exception)), None)
        if failed is not None:
            raise translate(failed) from failed

    async def _connected(self) -> KafkaProducer:
        """All who wait share one attempt."""
        if self._connection is None or (self._connection.done() and self._connection.exception()):
            self._connection = asyncio.ensure_future(asyncio.to_thread(_connect, self._options))
        return await asyncio.shield(self._connection)

    async def close(self) -> None:
        if self._connection is None:
            return
        try:
            connection = await self._connection
        except EyecatchError:
            return
        await asyncio.to_thread(connection.close, timeout=self._options["request_timeout_ms"] / 1000)


def _connect(options: Options) -> KafkaProducer:
    timeout_ms = options["request_timeout_ms"]
    own = {
        "acks": "all",
        # Profiles know events by their ids; and while an idempotent producer waits for a new id of its own, no send ever times out.
        "enable_idempotence": False,
        "linger_ms": LINGER_MS,
        "max_block_ms": timeout_ms,
        "delivery_timeout_ms": 2 * timeout_ms,
        "max_request_size": MAX_REQUEST_BYTES,
    }
    return connected(KafkaProducer, {**options, **own})


def _hand_over(connection: KafkaProducer, records: Sequence[Outgoing]) -> list[Any]:
    with translated():
        return [_send(connection, record) for record in records]


def _send(connection: KafkaProducer, record: Outgoing) -> Any:
    """What other producers may and kafka-python may not send, a header without a value and a record of nothing, becomes empty."""
    value = b"" if record.key is None and record.value is None else record.value
    headers = [(name, content or b"") for name, content in record.headers]
    return connection.send(record.topic, key=record.key, value=value, headers=headers)


def _awaitable(future: Any, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
    """kafka-python's future, which is settled on its own thread, as one of the loop's."""
    waiting: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)

    def settled(error: Exception | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, error)

    future.add_callback(lambda _: settled(None))
    future.add_errback(settled)
    return waiting


class KafkaSink:
    """The EventSink port: into the topic, keyed by user. All events count as new: nobody has looked yet."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    async def record(self, events: Sequence[Event]) -> int:
        await self._producer.send(
            [
                Outgoing(self._topic, event.user_id.encode(), event_to_wire(event).SerializeToString(), (PROTOBUF,))
                for event in events
            ]
        )
        return len(events)
