"""Settings of the processes that read a topic: ingest, and generate."""

from dataclasses import dataclass

from eyecatch.config import (
    JOBS,
    LIMITS,
    LOG_FORMATS,
    OPERATION,
    EventLogConfig,
    MakingConfig,
    StateConfig,
)
from eyecatch.core.errors import InvalidInput
from eyecatch.kafka_config import KAFKA, BrokerConfig, EventsTopicConfig, RequestsTopicConfig
from eyecatch.settings import option


@dataclass(frozen=True)
class ReaderConfig(BrokerConfig):
    """Options of every process that reads a topic."""

    topic_epoch: int = option(
        0,
        "Raise it after recreating the topic on brokers before Kafka 2.8, which have no topic ids.",
        KAFKA,
        low=0,
        high=10**6,
    )
    session_s: float = option(10.0, "Seconds after which the group removes a silent process.", KAFKA, low=1, high=300)
    check_s: float = option(
        5.0, "Seconds between checks whether the topic exists and whether it was recreated.", KAFKA, low=0.1, high=300
    )
    give_up_s: float = option(
        600.0,
        "Seconds for which the broker or the store may be unreachable before the process ends with status 1.",
        KAFKA,
        low=0,
        high=86_400,
    )
    health_host: str = option("127.0.0.1", "Address of /health and /metrics; 0.0.0.0 for every interface.", OPERATION)
    health_port: int = option(9464, "Port of /health and /metrics; 0 picks a free one.", OPERATION, low=0, high=65535)
    log_format: str = option("console", "console or json.", OPERATION, choices=LOG_FORMATS)


@dataclass(frozen=True)
class IngestConfig(StateConfig, EventLogConfig, EventsTopicConfig, ReaderConfig):
    """eyecatch ingest."""

    embeddings_topic: str = option(
        "", "Topic of users' own vectors, also read; its dead letters are in <topic>.dlq; empty = none.", KAFKA
    )
    group: str = option("eyecatch-ingest", "Consumer group; processes with the same group share the work.")
    batch_max: int = option(
        80_000,
        "Events of a batch at most; large batches are used only to catch up, and then cost less for each user.",
        LIMITS,
        low=1,
        high=100_000,
    )
    buffer_max: int = option(
        160_000, "Records held in memory; reading pauses above it.", LIMITS, low=1, high=10_000_000
    )
    drain_s: float = option(
        20.0, "Seconds to absorb the records in the buffer after SIGTERM.", OPERATION, low=0, high=600
    )
    processes: int = option(
        1, "Processes of the group that this command runs, each with a core of its own; 1 with SQLite.", low=1, high=256
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes > 1 and not self.store:
            raise InvalidInput.of("processes", self.processes, "1 with SQLite; several share a --store redis://...")


@dataclass(frozen=True)
class GenerateConfig(MakingConfig, RequestsTopicConfig, ReaderConfig):
    """eyecatch generate."""

    group: str = option("eyecatch-generate", "Consumer group; processes with the same group share the work.")
    generated_topic: str = option("covers.generated", "Topic of finished covers; created if it does not exist.", KAFKA)
    jobs: int = option(4, "Generation jobs that run at a time in this process.", JOBS, low=1, high=256)
    drain_s: float = option(
        60.0,
        "Seconds that running jobs get to finish after SIGTERM; then other processes start them again.",
        OPERATION,
        low=0,
        high=3600,
    )
