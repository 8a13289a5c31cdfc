"""eyecatch ingest, eyecatch dlq show | replay: behaviour events from Kafka into profiles, and the dead letters."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyecatch.addresses import joined
from eyecatch.commands.common import Json, fail, print_json, print_table, readable_errors, run_process
from eyecatch.commands.flags import configured
from eyecatch.kafka_config import KafkaConfig
from eyecatch.reader_config import IngestConfig
from eyecatch.settings import resolved

if TYPE_CHECKING:
    from types import ModuleType

    from eyecatch.kafka.dead_letters import DeadLetter

app = typer.Typer(invoke_without_command=True)
dlq = typer.Typer(help="Dead letters: records that could not be processed.", no_args_is_help=True)
Embeddings = Annotated[str, typer.Option(help="Dead letters of this topic of users' own vectors instead of events.")]
Requests = Annotated[bool, typer.Option("--requests", help="Dead letters of cover requests instead of events.")]


def _wiring() -> "ModuleType":
    try:
        from eyecatch.wiring import ingest as wiring_ingest
    except ModuleNotFoundError as error:
        fail(f"error: Kafka needs {error.name}: pip install 'eyecatch[kafka]'")
    return wiring_ingest


@app.callback()
@configured(IngestConfig)
def ingest(context: typer.Context, **flags: Any) -> None:
    """Absorb behaviour events from a Kafka topic, each exactly once. Run at most as many processes as the topic has partitions."""
    if context.invoked_subcommand is not None:
        return

    def ready(config: IngestConfig, port: int) -> str:
        return f"eyecatch ingest: health on http://{joined(config.health_host, port)}/health"

    run_process(IngestConfig, flags, _wiring().ingest, ready)


@app.command("rewind")
@configured(IngestConfig)
def rewind(
    to_store: Annotated[
        bool, typer.Option("--to-store", help="To what the store has; there is no other place.")
    ] = False,
    json: Json = False,
    **flags: Any,
) -> None:
    """Read again what a store lost: move the group's offsets back to what the store has. Stop every `eyecatch ingest` first."""
    import asyncio
    from dataclasses import asdict

    if not to_store:
        fail("error: rewind: got no place; allowed: --to-store")
    wiring = _wiring()
    with readable_errors():
        moves = asyncio.run(wiring.rewind(resolved(IngestConfig, flags)))
    if json:
        return print_json([asdict(move) for move in moves])
    rows = [(str(move.partition), str(move.before), str(move.after)) for move in moves]
    print_table(f"{len(rows)} partitions moved back", ("partition", "was at", "is at"), rows)


@dlq.command("show")
@configured(KafkaConfig)
def show(
    limit: Annotated[int, typer.Option(help="At most so many, the latest.", min=1, max=100_000)] = 20,
    requests: Requests = False,
    embeddings: Embeddings = "",
    json: Json = False,
    **flags: Any,
) -> None:
    """Show dead letters with their reasons, oldest first. They contain user ids."""
    wiring = _wiring()
    with readable_errors():
        letters = wiring.dead_letters(*_topic(flags, requests, embeddings), limit)
    if json:
        return print_json([_plain(letter) for letter in letters])
    rows = [(f"{x.partition}/{x.offset}", _time(x.time), x.reason, x.source, x.detail) for x in letters]
    print_table(f"{len(rows)} dead letters", ("at", "time", "reason", "source", "detail"), rows)


@dlq.command("replay")
@configured(KafkaConfig)
def replay(
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 1_000_000,
    requests: Requests = False,
    embeddings: Embeddings = "",
    json: Json = False,
    **flags: Any,
) -> None:
    """Send dead letters that were not replayed yet back to their topic, unchanged. A record that fails again gives a new dead letter."""
    import asyncio

    wiring = _wiring()
    with readable_errors():
        sent = asyncio.run(wiring.replay(*_topic(flags, requests, embeddings), limit))
    if json:
        return print_json({"replayed": sent})
    typer.echo(f"{sent} dead letters sent back")


def _topic(flags: dict[str, Any], requests: bool, embeddings: str) -> tuple[KafkaConfig, str]:
    config = resolved(KafkaConfig, flags)
    return config, embeddings or (config.requests_topic if requests else config.events_topic)


def _plain(letter: "DeadLetter") -> dict[str, Any]:
    """The dead letter as plain data, with bytes in base64."""
    from base64 import b64encode
    from dataclasses import asdict

    def text(data: bytes | None) -> str | None:
        return None if data is None else b64encode(data).decode()

    headers = [[name, text(value)] for name, value in letter.headers]
    return asdict(letter) | {"key": text(letter.key), "value": text(letter.value), "headers": headers}


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
