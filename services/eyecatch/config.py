"""The configuration of each process: frozen dataclasses that give its flags, its environment variables and the docs."""

import re
from dataclasses import dataclass
from pathlib import Path

from eyecatch.core.defaults import PUBLIC
from eyecatch.core.errors import InvalidInput
from eyecatch.core.trust import standing
from eyecatch.identity_config import IdentityConfig
from eyecatch.kafka_config import KafkaConfig
from eyecatch.settings import Settings, option

LOG_FORMATS = ("console", "json")
GENERATION = ("here", "workers")
MADE_COVERS = standing.MODES

STORE, JOBS, COVERS, TRITON = "Store", "Jobs and budgets", "Making covers", "Triton"
LEARNING, LIMITS, OPERATION = "Learning from behaviour", "Limits", "Operation"


@dataclass(frozen=True)
class StoreConfig(Settings):
    """Where the state is."""

    data_dir: str = option("eyecatch-data", "Folder of the SQLite file and the images.")
    store: str = option(
        "",
        "Store of profiles, items, covers, decisions and jobs: redis://host:port of a server or of any node of a cluster "
        "(or rediss://, unix://); empty = an SQLite file in data_dir.",
    )

    @property
    def folder(self) -> Path:
        return Path(self.data_dir)


@dataclass(frozen=True)
class EventLogConfig(Settings):
    """For processes that absorb events."""

    store_log_max: int = option(
        1_000_000, "Latest events that a Redis store keeps in its log; 0 = none.", STORE, low=0, high=1_000_000_000
    )


@dataclass(frozen=True)
class ServedStoreConfig(Settings):
    """For processes that answer requests from a Redis store."""

    store_retention_days: int = option(30, "Days that a Redis store keeps decisions.", STORE, low=1, high=3650)
    profile_cache_s: float = option(
        0.2, "Seconds for which a user embedding from Redis is cached; 0 = not at all.", STORE, low=0, high=10
    )
    profile_cache_users: int = option(
        100_000, "User embeddings from Redis that are cached at most.", STORE, low=1, high=100_000_000
    )


@dataclass(frozen=True)
class QueueConfig(Settings):
    """The queue of generation jobs."""

    queue_max: int = option(1000, "Generation jobs that may wait.", JOBS, low=1, high=1_000_000)
    lease_s: float = option(
        30.0, "Seconds after which a job in Redis is queued again if its worker is silent.", JOBS, low=1, high=3600
    )
    budget_per_item: int = option(
        0, "Covers of one item that may be drawn within a clock hour; 0 = no limit.", JOBS, low=0, high=10**9
    )
    budget_per_hour: int = option(
        0, "Covers of all items that may be drawn within a clock hour; 0 = no limit.", JOBS, low=0, high=10**9
    )


@dataclass(frozen=True)
class CheckpointConfig(Settings):
    """The models."""

    checkpoint: str = option("", "Folder with vlm, diffusion, adapter, and maybe space; empty = the shipped starter.")
    space: str = option(
        "",
        "Folder of `icg space fit`: covers are embedded in this space, and rewards have its scales; empty = the checkpoint's own space.",
        COVERS,
    )

    @property
    def space_folder(self) -> Path | None:
        return Path(self.space) if self.space else None


@dataclass(frozen=True)
class StateConfig(StoreConfig, CheckpointConfig):
    """Where the state is, and the models that go with it."""


@dataclass(frozen=True)
class MakingConfig(StateConfig, QueueConfig):
    """How covers are made, and where their images go."""

    blob_url: str = option("", "Store of the images, any fsspec URL; empty = a folder in data_dir.")
    made_covers: str = option(
        standing.REVIEW,
        "Who sees covers that a generator made: off = nobody, and none is made; review = everybody, once an editor approved them "
        "(eyecatch review); trial = a bounded share of users, and everybody once clicks prove them better; trusted = everybody. "
        "Covers that fail a gate always wait for an editor.",
        choices=MADE_COVERS,
    )
    pool_size: int = option(16, "Covers kept for an item.", COVERS, low=1, high=64)
    reward_weights: str = option(
        "", "Weights of the score, for example preference=2,relevance=0.5; empty = defaults.", COVERS
    )
    rewards: str = option(
        "",
        "Further rewards from local folders, for example clip=FOLDER,pickscore=FOLDER,safety=FOLDER or opennsfw (docs/rewards.md).",
        COVERS,
    )
    least_safety: float = option(
        0.5, "With a safety reward: made covers below it wait for an editor.", COVERS, low=0, high=1
    )
    jobs: int = option(1, "Generation jobs that run at a time in this process.", JOBS, low=1, high=256)
    draws_per_cover: int = option(
        1, "Pictures drawn for each requested cover; those with the best scores are stored.", COVERS, low=1, high=16
    )
    attempts: int = option(
        3,
        "Pictures drawn at most until the judge accepts one, if a scene is painted around a product.",
        COVERS,
        low=1,
        high=16,
    )
    device: str = option("", "Where covers are drawn: cpu, cuda or cuda:N; empty = a GPU if there is one.", COVERS)
    guided: str = option(
        "",
        "Part of the steps with guidance, for example 0.125-0.375, with which the starter takes two thirds of the time; empty = all.",
        COVERS,
    )
    upscale: int = option(
        1,
        "Factor by which the upscaler enlarges the edges of covers before they are stored; 1 = not at all.",
        COVERS,
        low=1,
        high=8,
    )
    upscaler: str = option(
        "",
        "Swin2SR checkpoint of the upscaler: a folder, or a name on the hub; empty = `upscaler` of the checkpoint, or the starter's.",
        COVERS,
    )
    triton: str = option(
        "", "Triton servers that draw the covers, host:port separated by commas; empty = this process draws them."
    )
    triton_timeout_s: float = option(
        60.0, "Deadline in seconds of a call to Triton, with its retries.", TRITON, low=0.1, high=3600
    )
    triton_level: int = option(
        2, "Priority of our covers on a shared Triton server, 1 (first) to 3.", TRITON, low=1, high=3
    )

    triton_ca: str = option(
        "", "PEM file of the authority of Triton's certificates, or system; empty = no TLS.", TRITON
    )
    triton_cert: str = option("", "PEM file of our certificate, if Triton asks for one.", TRITON)
    triton_key: str = option("", "PEM file of its key.", TRITON)

    @property
    def blobs(self) -> str:
        return self.blob_url or str(self.folder / "blobs")

    def guided_part(self) -> tuple[float, float] | None:
        """The part of the steps with guidance, (from, to), 0 to 1; None for all. Raises InvalidInput for another text."""
        if not self.guided:
            return None
        match = re.fullmatch(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*", self.guided)
        try:
            begin, end = map(float, match.groups() if match else ())
        except ValueError:
            begin, end = 1.0, 0.0
        if not 0 <= begin <= end <= 1:
            raise InvalidInput.of("guided", self.guided, "from-to with 0 <= from <= to <= 1")
        return begin, end

    def reward_names(self) -> list[str]:
        """Names of the further rewards. Raises InvalidInput for an unknown one."""
        names = [part.strip().partition("=")[0] for part in self.rewards.split(",") if part.strip()]
        if unknown := [name for name in names if name not in PUBLIC]:
            raise InvalidInput.of("rewards", unknown[0], f"NAME=FOLDER with a NAME of {', '.join(PUBLIC)}")
        return names

    def safety_gate(self) -> float | None:
        """The least safety of a made cover that users may see; None without a safety reward."""
        return self.least_safety if any(PUBLIC[n].name == standing.SAFETY for n in self.reward_names()) else None

    def triton_servers(self) -> list[str]:
        """The addresses of the Triton servers; none if this process draws. Raises InvalidInput for a bad address."""
        servers = [each.strip() for each in self.triton.split(",") if each.strip()]
        if not all(re.fullmatch(r".+:\d{1,5}", each) for each in servers):
            raise InvalidInput.of("triton", self.triton, "host:port of each Triton server, separated by commas")
        return servers


@dataclass(frozen=True)
class Config(MakingConfig, EventLogConfig, ServedStoreConfig, KafkaConfig, IdentityConfig):
    """eyecatch serve. With `kafka`, recorded events go to the topic, and `eyecatch ingest` absorbs them."""

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 for every interface.")
    port: int = option(50051, "Port to listen on; 0 picks a free one.", low=0, high=65535)
    processes: int = option(
        1,
        "Servers that this command runs on its port, each with a core of its own and with its part of cached_items; 1 with SQLite.",
        OPERATION,
        low=1,
        high=256,
    )
    preload: bool = option(True, "Load the generator right after start instead of at the first request.", OPERATION)
    background_generation: bool = option(
        False, "Make covers in the background when a recommended item has fewer than pool_min covers."
    )
    generation: str = option(
        "here",
        "Where covers are made: here = in this process; workers = in processes of `eyecatch generate`, over kafka and store.",
        JOBS,
        choices=GENERATION,
    )
    reencode_every_s: float = option(
        3600.0,
        "Seconds between sweeps that encode users of other encoder versions again, the first at start; 0 = never.",
        LEARNING,
        low=0,
        high=1e6,
    )
    clusters_every_s: float = option(
        3600.0,
        "Seconds after which taste clusters are fitted again; 0 = never by this process.",
        LEARNING,
        low=0,
        high=1e7,
    )
    clusters: int = option(64, "Taste clusters at most.", LEARNING, low=2, high=4096)
    cluster_users: int = option(20, "Users of a taste cluster at least.", LEARNING, low=2, high=1_000_000)
    pool_min: int = option(2, "A pool with fewer covers is thin.", COVERS, low=0, high=64)
    exploration: float = option(
        0.05, "Share of items whose first cover is drawn from the whole pool, to learn from.", LEARNING, low=0, high=1
    )
    trial_share: float = option(
        0.05,
        "With made_covers trial: share of the decisions about an item with covers on trial that show one of them.",
        LEARNING,
        low=0,
        high=0.5,
    )
    trial_every_s: float = option(
        600.0,
        "Seconds between looks at the clicks of covers on trial; 0 = never by this process.",
        LEARNING,
        low=0,
        high=1e6,
    )
    clicks_every_s: float = option(
        3600.0,
        "With a weight of the reward `clicks`: seconds after which it is learned again from events.",
        LEARNING,
        low=1,
        high=1e6,
    )
    max_concurrent: int = option(
        256,
        "Calls that are answered at a time, without streams and imports; more are refused with RESOURCE_EXHAUSTED.",
        LIMITS,
        low=1,
        high=100_000,
    )
    max_streams: int = option(
        1000, "GenerateCovers calls that wait at a time, and watches of health.", LIMITS, low=1, high=100_000
    )
    max_calls_per_connection: int = option(
        1000,
        "Calls and streams of one connection that run at a time; a client keeps or refuses further ones. With 16, overload costs "
        "a server nothing, but clients need another connection for GenerateCovers (docs/reliability-of-service.md).",
        LIMITS,
        low=1,
        high=100_000,
    )
    max_imports: int = option(
        8, "UpsertItems and UpsertUserEmbeddings calls that run at a time.", LIMITS, low=1, high=100_000
    )
    cached_items: int = option(
        50_000,
        "Items whose covers are kept in memory, 5 to 10 KB each; those recommended least recently make place.",
        LIMITS,
        low=100,
        high=10_000_000,
    )
    max_message_mb: int = option(32, "Largest accepted message, MiB.", LIMITS, low=1, high=1024)
    allowed_hosts: str = option(
        "",
        "Hosts (host or host:port, separated by commas) from which reference pictures may be fetched; empty = none. "
        "A name with a private address is refused.",
        LIMITS,
    )
    allowed_private_hosts: str = option("", "Further ones, whose names may have private addresses.", LIMITS)
    health_port: int = option(
        0,
        "Further port of grpc.health.v1, for probes: it has threads of its own and answers under any load; 0 = none.",
        OPERATION,
        low=0,
        high=65535,
    )
    metrics_port: int = option(
        0, "Port of /metrics and /health over HTTP, on the same address; 0 = none.", OPERATION, low=0, high=65535
    )
    grace_s: float = option(
        5.0,
        "Seconds after SIGTERM in which health is NOT_SERVING and all calls are still answered, so that balancers notice.",
        OPERATION,
        low=0,
        high=600,
    )
    drain_s: float = option(10.0, "Seconds that running calls get to finish after that.", OPERATION, low=0, high=600)
    connection_age_s: float = option(
        600.0,
        "Seconds after which a client has to connect anew, so that it meets new servers; its running calls go on; 0 = never.",
        LIMITS,
        low=0,
        high=1e6,
    )
    connection_idle_s: float = option(
        300.0, "Seconds after which a connection without calls is closed; 0 = never.", LIMITS, low=0, high=1e6
    )
    log_format: str = option("console", "console or json.", OPERATION, choices=LOG_FORMATS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes > 1 and not self.store:
            raise InvalidInput.of("processes", self.processes, "1 with SQLite; several share a --store redis://...")

    @property
    def hosts(self) -> frozenset[str]:
        return _names(self.allowed_hosts)

    @property
    def private_hosts(self) -> frozenset[str]:
        return _names(self.allowed_private_hosts)


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())
