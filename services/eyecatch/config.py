"""The configuration: one frozen dataclass that gives the flags of `eyecatch serve`, their environment variables and the docs.

Precedence: flag, then EYECATCH_<NAME>, then the default here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from eyecatch.core.errors import InvalidInput

PREFIX = "EYECATCH_"


def option(default: Any, help: str, secret: bool = False, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "secret": secret, "low": low, "high": high})


@dataclass(frozen=True)
class Config:
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 for every interface.")
    port: int = option(50051, "Port to listen on; 0 picks a free one.", low=0, high=65535)
    data_dir: str = option("eyecatch-data", "Folder of the SQLite file and the images.")
    store: str = option(
        "",
        "Where profiles, items, covers, decisions and jobs are kept: redis://host:port of a server or of any node of a cluster "
        "(or rediss://, unix://); empty = an SQLite file in data_dir.",
    )
    store_log_max: int = option(
        1_000_000, "Events that a Redis store keeps listed, the latest; 0 = none.", low=0, high=1_000_000_000
    )
    store_retention_days: int = option(30, "Days that a Redis store keeps decisions.", low=1, high=3650)
    profile_cache_s: float = option(
        0.2, "Seconds for which a user embedding read from Redis is used again; 0 = never.", low=0, high=10
    )
    profile_cache_users: int = option(
        100_000, "User embeddings read from Redis that are kept at most.", low=1, high=100_000_000
    )
    blob_url: str = option("", "Where images are kept, any fsspec URL; empty = a folder in data_dir.")
    checkpoint: str = option("", "Folder with vlm, diffusion, adapter, joint and dual; empty = the shipped starter.")
    preload: bool = option(True, "Load the generator right after start instead of at the first request.")
    background_generation: bool = option(True, "Make covers in the background when a recommended item's pool is thin.")
    pool_min: int = option(2, "A pool with fewer covers is thin.", low=0, high=64)
    pool_size: int = option(16, "Covers kept for an item.", low=1, high=64)
    exploration: float = option(
        0.05, "Share of items whose first cover is drawn from the whole pool, to learn from.", low=0, high=1
    )
    reward_weights: str = option("", "Weights of the score, for example preference=2,relevance=0.5; empty = defaults.")
    queue_max: int = option(1000, "Generation jobs that may wait.", low=1, high=1_000_000)
    max_concurrent: int = option(
        256, "Calls answered at a time; more are refused with RESOURCE_EXHAUSTED.", low=1, high=100_000
    )
    max_message_mb: int = option(32, "Largest message taken, MiB.", low=1, high=1024)
    allowed_hosts: str = option(
        "", "Hosts (host or host:port, by commas) from which reference pictures may be fetched; empty = none."
    )
    api_token: str = option("", "Clients must send it as a bearer token; empty = no authentication.", secret=True)
    drain_s: float = option(10.0, "Seconds that running calls get to finish after SIGTERM.", low=0, high=600)
    log_format: str = option("console", "console or json.")

    def __post_init__(self) -> None:
        for f in fields(self):
            value, low, high = getattr(self, f.name), f.metadata["low"], f.metadata["high"]
            if low is not None and not low <= value <= high:
                raise InvalidInput.of(f.name, value, f"{low} to {high}")
        if self.log_format not in ("console", "json"):
            raise InvalidInput.of("log_format", self.log_format, "console or json")

    @property
    def folder(self) -> Path:
        return Path(self.data_dir)

    @property
    def blobs(self) -> str:
        return self.blob_url or str(self.folder / "blobs")

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(h.strip().lower() for h in self.allowed_hosts.split(",") if h.strip())

    def shown(self) -> dict[str, object]:
        """The resolved configuration, secrets and credentials inside URLs hidden."""
        return {f.name: _hide(getattr(self, f.name), f.metadata["secret"]) for f in fields(self)}


def _hide(value: object, secret: bool) -> object:
    if secret and value:
        return "***"
    if not isinstance(value, str):
        return value
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", re.sub(r"//[^/@\s]+@", "//***@", value))


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Config:
    """Flags that are not None, then environment variables, then defaults. Raises InvalidInput naming the variable."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for f in fields(Config):
        name = PREFIX + f.name.upper()
        if flags.get(f.name) is not None:
            values[f.name] = flags[f.name]
        elif name in environ:
            values[f.name] = _parse(name, environ[name], type(f.default))
    return Config(**values)


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in known:
            raise InvalidInput.of(name, text, "true or false")
        return known[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput.of(name, text, f"a value of type {kind.__name__}") from None
