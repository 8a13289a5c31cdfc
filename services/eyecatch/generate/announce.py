"""What a worker announces over Kafka: new covers and failed jobs. Knows no Kafka client."""

import time
from collections.abc import Sequence
from functools import partial

from eyecatch.core.errors import EyecatchError
from eyecatch.core.types import Cover, Job
from eyecatch.generate.metrics import GenerateMetrics
from eyecatch.generate.requests import Reason, covers_record, to_record
from eyecatch.generate.worker import Announcer
from eyecatch.kafka.dead_letters import outgoing_dead_letter
from eyecatch.kafka.producer import Outbox
from eyecatch.kafka.records import Poison
from eyecatch.kafka.retry import DEAD_LETTERS, Retry

TOPIC_OF_COVERS = "topic of covers"


class RequestSender:
    """Sends the jobs of a server to the workers through a topic."""

    def __init__(self, outbox: Outbox, topic: str) -> None:
        self._outbox, self._topic = outbox, topic

    async def __call__(self, job: Job) -> None:
        """Returns when the brokers have the job. Raises Unavailable, NotReady, Overloaded."""
        await self._outbox.send([to_record(job, self._topic)])


class KafkaAnnouncer(Announcer):
    """Announces over Kafka. A job ends only after the brokers have acknowledged its announcement."""

    def __init__(self, outbox: Outbox, requests: str, generated: str, retry: Retry, metrics: GenerateMetrics) -> None:
        self._outbox, self._requests, self._generated = outbox, requests, generated
        self._retry, self._metrics = retry, metrics

    async def covers_made(self, job: Job, covers: Sequence[Cover]) -> None:
        record = covers_record(job, list(covers), self._generated, time.time())
        await self._retry(TOPIC_OF_COVERS, partial(self._outbox.send, [record]))

    async def job_failed(self, job: Job, error: EyecatchError) -> None:
        record = outgoing_dead_letter(to_record(job, self._requests), Poison(Reason.JOB_FAILED, str(error)))
        await self._retry(DEAD_LETTERS, partial(self._outbox.send, [record]))
        self._metrics.poison.labels(Reason.JOB_FAILED).inc()
