"""Sending records to topics and waiting until the brokers have them; and the EventSink port on a topic."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from kafka import KafkaProducer

from eyecatch.core.errors import EyecatchError, Overloaded
from eyecatch.core.types import Event
from eyecatch.kafka.client import Options, connected, translate, translated
from eyecatch.kafka.records import CONTENT_TYPE, Headers
from eyecatch.messages import event_to_wire

# A dead letter is as large as its record, so only the broker's own limit applies.
MAX_REQUEST_BYTES = 64 << 20
LINGER_MS = 2
# Calls that wait for a slow broker must not use up the threads of other calls.
MAX_WAITING = 64
PROTOBUF = (CONTENT_TYPE, b"application/x-protobuf")


class Outgoing(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Outbox(Protocol):
    """Sends records; Producer implements it."""

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Returns when the brokers have all of them. Raises Unavailable, NotReady."""


class Producer:
    """Connects at `connect` or the first use, so that a server starts without its brokers. Use it on one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._connection: asyncio.Future[KafkaProducer] | None = None
        self._waiting = 0

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Returns when all in-sync replicas have all records.

        Raises Unavailable and NotReady, when some records may be sent; Overloaded if MAX_WAITING calls wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} calls wait for the broker already")
        self._waiting += 1
        try:
            connection = await self.connect()
            loop = asyncio.get_running_loop()
            # In a thread: it waits for the metadata of the topic, and for buffer space if the brokers are slow.
            futures = await asyncio.to_thread(_send_all, connection, records)
            answers = await asyncio.gather(*[_awaitable(f, loop) for f in futures], return_exceptions=True)
        finally:
            self._waiting -= 1
        failed = next((answer for answer in answers if isinstance(answer, Exception)), None)
        if failed is not None:
            raise translate(failed) from failed

    async def connect(self) -> KafkaProducer:
        """The connection. All callers share one attempt to connect. Raises Unavailable, NotReady."""
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
    producer = {
        "acks": "all",
        # Profiles recognise repeated events; and sends of an idempotent producer never time out while it has no id.
        "enable_idempotence": False,
        "linger_ms": LINGER_MS,
        "max_block_ms": timeout_ms,
        "delivery_timeout_ms": 2 * timeout_ms,
        "max_request_size": MAX_REQUEST_BYTES,
    }
    return connected(KafkaProducer, {**options, **producer})


def _send_all(connection: KafkaProducer, records: Sequence[Outgoing]) -> list[Any]:
    with translated():
        return [_send(connection, record) for record in records]


def _send(connection: KafkaProducer, record: Outgoing) -> Any:
    """Send a record. kafka-python cannot send a header without a value or an empty record; such nulls become empty bytes."""
    value = b"" if record.key is None and record.value is None else record.value
    headers = [(name, content or b"") for name, content in record.headers]
    return connection.send(record.topic, key=record.key, value=value, headers=headers)


def _awaitable(future: Any, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
    """A future of the event loop for kafka-python's future, which completes on another thread."""
    waiting: asyncio.Future[None] = loop.create_future()

    def complete(error: Exception | None) -> None:
        if waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)

    def on_done(error: Exception | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(complete, error)

    future.add_callback(lambda _: on_done(None))
    future.add_errback(on_done)
    return waiting


class KafkaSink:
    """The EventSink port on a topic; the key of a record is the user. All events count as new, because they are not compared yet."""

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
