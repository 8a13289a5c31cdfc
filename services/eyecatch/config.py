"""The configuration of each process: frozen dataclasses that give its flags, its environment variables and the docs."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyecatch.core.errors import InvalidInput
from eyecatch.settings import Settings, option

SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
LOG_FORMATS = ("console", "json")
GENERATION = ("here", "workers")
MADE_COVERS = ("review", "trusted")
SASL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


STORE, JOBS, COVERS, TRITON = "Store", "Jobs and budgets", "Making covers", "Triton"
KAFKA, LEARNING, LIMITS, OPERATION = "Kafka", "Learning from behaviour", "Limits and access", "Operation"


@dataclass(frozen=True)
class StoreConfig(Settings):
    """Where the state is."""

    data_dir: str = option("eyecatch-data", "Folder of the SQLite file and the images.")
    store: str = option(
        "",
        "Where profiles, items, covers, decisions and jobs are kept: redis://host:port of a server or of any node of a cluster "
        "(or rediss://, unix://); empty = an SQLite file in data_dir.",
    )

    @property
    def folder(self) -> Path:
        return Path(self.data_dir)


@dataclass(frozen=True)
class EventLogConfig(Settings):
    """For processes that absorb events."""

    store_log_max: int = option(
        1_000_000, "Events that a Redis store keeps listed, the latest; 0 = none.", STORE, low=0, high=1_000_000_000
    )


@dataclass(frozen=True)
class ServedStoreConfig(Settings):
    """For processes that answer requests from a Redis store."""

    store_retention_days: int = option(30, "Days that a Redis store keeps decisions.", STORE, low=1, high=3650)
    profile_cache_s: float = option(
        0.2, "Seconds for which a user embedding read from Redis is used again; 0 = never.", STORE, low=0, high=10
    )
    profile_cache_users: int = option(
        100_000, "User embeddings read from Redis that are kept at most.", STORE, low=1, high=100_000_000
    )


@dataclass(frozen=True)
class QueueConfig(Settings):
    """The queue of generation jobs."""

    queue_max: int = option(1000, "Generation jobs that may wait.", JOBS, low=1, high=1_000_000)
    lease_s: float = option(
        30.0, "Seconds after which a job in Redis is taken again when its worker is silent.", JOBS, low=1, high=3600
    )
    budget_per_item: int = option(
        0, "Covers of one item that may be made within an hour of the clock; 0 = any number.", JOBS, low=0, high=10**9
    )
    budget_per_hour: int = option(
        0, "Covers in all that may be made within an hour of the clock; 0 = any number.", JOBS, low=0, high=10**9
    )


@dataclass(frozen=True)
class CheckpointConfig(Settings):
    """The models."""

    checkpoint: str = option("", "Folder with vlm, diffusion, adapter, joint and dual; empty = the shipped starter.")


@dataclass(frozen=True)
class StateConfig(StoreConfig, CheckpointConfig):
    """Where the state is, and the models that belong to it."""


@dataclass(frozen=True)
class MakingConfig(StateConfig, QueueConfig):
    """How covers are made, and where their images go."""

    blob_url: str = option("", "Where images are kept, any fsspec URL; empty = a folder in data_dir.")
    pool_size: int = option(16, "Covers kept for an item.", COVERS, low=1, high=64)
    reward_weights: str = option(
        "", "Weights of the score, for example preference=2,relevance=0.5; empty = defaults.", COVERS
    )
    jobs: int = option(1, "Generation jobs at work at a time in this process.", JOBS, low=1, high=256)
    draws_per_cover: int = option(
        1, "Pictures drawn for each cover wanted; those with the best scores stay.", COVERS, low=1, high=16
    )
    attempts: int = option(
        3,
        "Pictures drawn at most until one shows its product reliably, where a scene is painted around it.",
        COVERS,
        low=1,
        high=16,
    )
    guided: str = option(
        "",
        "Part of the steps that covers are guided in, as 0.125-0.375, which draws the starter's in two thirds of the time; empty = all.",
        COVERS,
    )
    upscale: int = option(
        1,
        "How many times larger than drawn the edges of kept covers are made, as the upscaler can; 1 = as drawn.",
        COVERS,
        low=1,
        high=8,
    )
    upscaler: str = option(
        "",
        "Swin2SR checkpoint that enlarges them: a folder, or a name on the hub; empty = `upscaler` of the checkpoint, or the starter's.",
        COVERS,
    )
    triton: str = option(
        "", "Triton servers that draw the covers, host:port by commas; empty = this process draws them."
    )
    triton_timeout_s: float = option(
        60.0, "Seconds within which Triton must have drawn what it is asked for at a time.", TRITON, low=0.1, high=3600
    )
    triton_level: int = option(
        2, "Where others draw on the same Triton: whose covers go first, 1 to 3.", TRITON, low=1, high=3
    )

    @property
    def blobs(self) -> str:
        return self.blob_url or str(self.folder / "blobs")

    def guided_part(self) -> tuple[float, float] | None:
        """(from, to), None for all of the steps. Raises InvalidInput for what is no such part."""
        if not self.guided:
            return None
        found = re.fullmatch(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*", self.guided)
        try:
            begin, end = map(float, found.groups() if found else ())
        except ValueError:
            begin, end = 1.0, 0.0
        if not 0 <= begin <= end <= 1:
            raise InvalidInput.of("guided", self.guided, "from-to with 0 <= from <= to <= 1")
        return begin, end

    def triton_servers(self) -> list[str]:
        """Addresses; none where this process draws. Raises InvalidInput for what is no host:port."""
        servers = [each.strip() for each in self.triton.split(",") if each.strip()]
        if not all(re.fullmatch(r".+:\d{1,5}", each) for each in servers):
            raise InvalidInput.of("triton", self.triton, "host:port of each Triton server, by commas")
        return servers


@dataclass(frozen=True)
class BrokerConfig(Settings):
    """How to reach the brokers."""

    kafka: str = option("", "Kafka brokers, host:port by commas.")
    kafka_security: str = option("PLAINTEXT", f"One of {', '.join(SECURITY)}.", KAFKA, choices=SECURITY)
    kafka_sasl: str = option("PLAIN", f"SASL mechanism: one of {', '.join(SASL)}.", KAFKA, choices=SASL)
    kafka_user: str = option("", "SASL user name.", KAFKA)
    kafka_password: str = option("", "SASL password.", KAFKA, secret=True)
    kafka_ca: str = option("", "File of the certificate authority (PEM) for TLS; empty = the system's.", KAFKA)
    kafka_timeout_s: float = option(10.0, "Seconds after which a broker does not answer.", KAFKA, low=1, high=300)

    def kafka_client(self) -> dict[str, Any]:
        """Options of every kafka-python client. Raises InvalidInput without brokers."""
        brokers = [b.strip() for b in self.kafka.split(",") if b.strip()]
        if not brokers or not all(re.fullmatch(r".+:\d{1,5}", broker) for broker in brokers):
            raise InvalidInput.of("kafka", self.kafka, "host:port of each broker, by commas")
        timeout_ms = round(self.kafka_timeout_s * 1000)
        options: dict[str, Any] = {
            "bootstrap_servers": brokers,
            "bootstrap_timeout_ms": timeout_ms,
            "request_timeout_ms": timeout_ms,
            "reconnect_backoff_max_ms": 2000,
            "security_protocol": self.kafka_security,
        }
        if "SSL" in self.kafka_security:
            options["ssl_cafile"] = self.kafka_ca or None
        if self.kafka_security.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.kafka_sasl,
                "sasl_plain_username": self.kafka_user,
                "sasl_plain_password": self.kafka_password,
            }
        return options


@dataclass(frozen=True)
class EventsTopicConfig(Settings):
    """The topic of behaviour events."""

    events_topic: str = option(
        "behavior.events", "Topic of behaviour events; its dead letters are in <topic>.dlq.", KAFKA
    )


@dataclass(frozen=True)
class RequestsTopicConfig(Settings):
    """The topic of cover requests."""

    requests_topic: str = option(
        "covers.requested", "Topic of cover requests; its dead letters are in <topic>.dlq.", KAFKA
    )


@dataclass(frozen=True)
class KafkaConfig(BrokerConfig, EventsTopicConfig, RequestsTopicConfig):
    """The brokers and both topics."""


@dataclass(frozen=True)
class Config(MakingConfig, EventLogConfig, ServedStoreConfig, KafkaConfig):
    """eyecatch serve. With `kafka`, recorded events go to the topic and `eyecatch ingest` takes them in."""

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 for every interface.")
    port: int = option(50051, "Port to listen on; 0 picks a free one.", low=0, high=65535)
    preload: bool = option(True, "Load the generator right after start instead of at the first request.", OPERATION)
    background_generation: bool = option(
        False, "Make covers in the background when a recommended item has fewer than pool_min covers."
    )
    made_covers: str = option(
        "review",
        "Who may see covers that a generator made: review = no user, where the item has catalogue covers, only who asks for a cover by "
        "its id or lists a job; trusted = every user for whom one has the best score.",
        choices=MADE_COVERS,
    )
    generation: str = option(
        "here",
        "Where covers are made: here = in this process; workers = by the processes of `eyecatch generate`, over kafka and store.",
        JOBS,
        choices=GENERATION,
    )
    reencode_every_s: float = option(
        3600.0,
        "Seconds between looks for user embeddings that another encoder made, the first at start; 0 = never.",
        LEARNING,
        low=0,
        high=1e6,
    )
    clusters_every_s: float = option(
        3600.0,
        "Seconds after which taste clusters are fitted again; 0 = another process does it.",
        LEARNING,
        low=0,
        high=1e7,
    )
    clusters: int = option(64, "Taste clusters at most.", LEARNING, low=2, high=4096)
    cluster_users: int = option(
        20, "Users of whom a taste cluster is the mean at least.", LEARNING, low=2, high=1_000_000
    )
    pool_min: int = option(2, "A pool with fewer covers is thin.", COVERS, low=0, high=64)
    exploration: float = option(
        0.05, "Share of items whose first cover is drawn from the whole pool, to learn from.", LEARNING, low=0, high=1
    )
    max_concurrent: int = option(
        256, "Calls answered at a time; more are refused with RESOURCE_EXHAUSTED.", LIMITS, low=1, high=100_000
    )
    max_message_mb: int = option(32, "Largest message taken, MiB.", LIMITS, low=1, high=1024)
    allowed_hosts: str = option(
        "", "Hosts (host or host:port, by commas) from which reference pictures may be fetched; empty = none.", LIMITS
    )
    api_token: str = option(
        "", "Clients must send it as a bearer token; empty = no authentication.", LIMITS, secret=True
    )
    metrics_port: int = option(
        0, "Port of /metrics over HTTP, on the same address; 0 = none.", OPERATION, low=0, high=65535
    )
    drain_s: float = option(10.0, "Seconds that running calls get to finish after SIGTERM.", OPERATION, low=0, high=600)
    log_format: str = option("console", "console or json.", OPERATION, choices=LOG_FORMATS)

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(h.strip().lower() for h in self.allowed_hosts.split(",") if h.strip())


@dataclass(frozen=True)
class ReaderConfig(BrokerConfig):
    """What every process that reads a topic needs."""

    topic_epoch: int = option(
        0,
        "Raise it after making the topic anew on brokers older than Kafka 2.8, which do not tell.",
        KAFKA,
        low=0,
        high=10**6,
    )
    session_s: float = option(
        10.0, "Seconds after which the group takes a silent process for dead.", KAFKA, low=1, high=300
    )
    check_s: float = option(
        5.0, "Seconds between looks at the topic: is it there, is it the same one.", KAFKA, low=0.1, high=300
    )
    give_up_s: float = option(
        600.0,
        "Seconds that the broker or the store may be away before the process ends with status 1.",
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

    group: str = option("eyecatch-ingest", "Consumer group; all processes that share the work share it.")
    batch_max: int = option(
        80_000,
        "Events absorbed at a time at most; many only when behind, which then costs each user less.",
        LIMITS,
        low=1,
        high=100_000,
    )
    buffer_max: int = option(
        160_000, "Records held in memory; reading pauses above it.", LIMITS, low=1, high=10_000_000
    )
    drain_s: float = option(20.0, "Seconds to absorb what was read already after SIGTERM.", OPERATION, low=0, high=600)
    processes: int = option(
        1, "Members of the group that this command runs, each on a core of its own; one with SQLite.", low=1, high=256
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes > 1 and not self.store:
            raise InvalidInput.of("processes", self.processes, "1 with SQLite; several share a --store redis://...")


@dataclass(frozen=True)
class GenerateConfig(MakingConfig, RequestsTopicConfig, ReaderConfig):
    """eyecatch generate."""

    group: str = option("eyecatch-generate", "Consumer group; all processes that share the work share it.")
    generated_topic: str = option(
        "covers.generated", "Topic that tells of covers made; created if it is not there.", KAFKA
    )
    jobs: int = option(4, "Generation jobs at work at a time in this process.", JOBS, low=1, high=256)
    drain_s: float = option(
        60.0,
        "Seconds that running jobs get to finish after SIGTERM; then others begin them anew.",
        OPERATION,
        low=0,
        high=3600,
    )
