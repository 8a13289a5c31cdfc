"""eyecatch ingest, eyecatch dlq show | replay: behaviour events from Kafka into profiles, and those that could not be taken."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyecatch.commands.common import Json, fail, print_json, print_table, readable_errors
from eyecatch.commands.flags import configured
from eyecatch.config import IngestConfig, KafkaConfig
from eyecatch.settings import resolved

if TYPE_CHECKING:
    from types import ModuleType

    from eyecatch.kafka.dead_letters import DeadLetter

dlq = typer.Typer(help="Records that could not be absorbed or done.", no_args_is_help=True)
Requests = Annotated[bool, typer.Option("--requests", help="Those of cover requests instead of events.")]


def _wiring() -> "ModuleType":
    try:
        from eyecatch.wiring import ingest as wiring_ingest
    except ModuleNotFoundError as error:
        fail(f"error: Kafka needs {error.name}: pip install 'eyecatch[kafka]'")
    return wiring_ingest


@configured(IngestConfig)
def ingest(**flags: Any) -> None:
    """Absorb behaviour events from a Kafka topic, each exactly once; as many processes as the topic has partitions."""
    import sys

    import uvloop

    from eyecatch.observe.logs import configure

    wiring = _wiring()
    with readable_errors():
        config = resolved(IngestConfig, flags)
        configure(config.log_format)
        for name, value in config.shown().items():
            typer.echo(f"  {name:22} {value}", err=True)

        def ready(port: int) -> None:
            typer.echo(f"eyecatch ingest: health on http://{config.health_host}:{port}/health")
            sys.stdout.flush()

        uvloop.run(wiring.ingest(config, ready))


@dlq.command("show")
@configured(KafkaConfig)
def show(
    limit: Annotated[int, typer.Option(help="The latest so many.", min=1, max=100_000)] = 20,
    requests: Requests = False,
    json: Json = False,
    **flags: Any,
) -> None:
    """Dead letters with their reasons, oldest first. They hold ids of users."""
    wiring = _wiring()
    with readable_errors():
        letters = wiring.dead_letters(*_topic(flags, requests), limit)
    if json:
        return print_json([_plain(letter) for letter in letters])
    rows = [(f"{x.partition}/{x.offset}", _time(x.time), x.reason, x.source, x.detail) for x in letters]
    print_table(f"{len(rows)} dead letters", ("at", "time", "reason", "source", "detail"), rows)


@dlq.command("replay")
@configured(KafkaConfig)
def replay(
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 1_000_000,
    requests: Requests = False,
    json: Json = False,
    **flags: Any,
) -> None:
    """Send dead letters that were never replayed back to their topic, unchanged. What is still wrong comes back as a new one."""
    import asyncio

    wiring = _wiring()
    with readable_errors():
        sent = asyncio.run(wiring.replay(*_topic(flags, requests), limit))
    if json:
        return print_json({"replayed": sent})
    typer.echo(f"{sent} dead letters sent back")


def _topic(flags: dict[str, Any], requests: bool) -> tuple[KafkaConfig, str]:
    config = resolved(KafkaConfig, flags)
    return config, config.requests_topic if requests else config.events_topic


def _plain(letter: "DeadLetter") -> dict[str, Any]:
    """Bytes in base64: they are anything."""
    from base64 import b64encode
    from dataclasses import asdict

    def text(data: bytes | None) -> str | None:
        return None if data is None else b64encode(data).decode()

    headers = [[name, text(value)] for name, value in letter.headers]
    return asdict(letter) | {"key": text(letter.key), "value": text(letter.value), "headers": headers}


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
