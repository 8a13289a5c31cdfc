"""eyecatch generate: the process that makes covers for servers elsewhere."""

from typing import TYPE_CHECKING, Any

import typer

from eyecatch.commands.common import fail, readable_errors
from eyecatch.commands.flags import configured
from eyecatch.config import GenerateConfig
from eyecatch.settings import resolved

if TYPE_CHECKING:
    from types import ModuleType


def _wiring() -> "ModuleType":
    try:
        from eyecatch.wiring import generate as wiring_generate
    except ModuleNotFoundError as error:
        fail(f"error: making covers for other processes needs {error.name}: pip install 'eyecatch[kafka,redis]'")
    return wiring_generate


@configured(GenerateConfig)
def generate(**flags: Any) -> None:
    """Make the covers that servers with --generation workers ask for over Kafka; any number of processes share the work."""
    import sys

    import uvloop

    from eyecatch.observe.logs import configure

    wiring = _wiring()
    with readable_errors():
        config = resolved(GenerateConfig, flags)
        configure(config.log_format)
        for name, value in config.shown().items():
            typer.echo(f"  {name:22} {value}", err=True)

        def ready(port: int) -> None:
            typer.echo(f"eyecatch generate: health on http://{config.health_host}:{port}/health")
            sys.stdout.flush()

        uvloop.run(wiring.generate(config, ready))
