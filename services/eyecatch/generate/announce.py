"""What a worker announces over Kafka: new covers, and jobs that it gave up. Knows no Kafka client."""

import time
from collections.abc import Sequence
from functools import partial

from eyecatch.core.errors import EyecatchError
from eyecatch.core.types import Cover, Job
from eyecatch.generate.metrics import Metrics
from eyecatch.generate.requests import Reason, made_record, to_record
from eyecatch.generate.worker import Announcer
from eyecatch.kafka.dead_letters import buried
from eyecatch.kafka.producer import Outbox
from eyecatch.kafka.records import Poison
from eyecatch.kafka.retry import DEAD_LETTERS, Patience

TOPIC_OF_COVERS = "topic of covers"


class Requests:
    """Sends jobs of a server to the processes that make covers."""

    def __init__(self, outbox: Outbox, topic: str) -> None:
        self._outbox, self._topic = outbox, topic

    async def __call__(self, job: Job) -> None:
        """Returns when the brokers have it. Raises Unavailable, NotReady, Overloaded."""
        await self._outbox.send([to_record(job, self._topic)])


class KafkaAnnouncer(Announcer):
    """The brokers have acknowledged before a job is over."""

    def __init__(self, outbox: Outbox, requests: str, generated: str, patience: Patience, metrics: Metrics) -> None:
        self._outbox, self._requests, self._generated = outbox, requests, generated
        self._patience, self._metrics = patience, metrics

    async def made(self, job: Job, covers: Sequence[Cover]) -> None:
        record = made_record(job, list(covers), self._generated, time.time())
        await self._patience(TOPIC_OF_COVERS, partial(self._outbox.send, [record]))

    async def given_up(self, job: Job, error: EyecatchError) -> None:
        record = buried(to_record(job, self._requests), Poison(Reason.JOB_FAILED, str(error)))
        await self._patience(DEAD_LETTERS, partial(self._outbox.send, [record]))
        self._metrics.poison.labels(Reason.JOB_FAILED).inc()
