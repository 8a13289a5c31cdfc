"""eyecatch serve: one flag for each field of the configuration."""

from typing import Any

import typer

from eyecatch.commands.common import readable_errors
from eyecatch.commands.flags import configured
from eyecatch.config import Config
from eyecatch.settings import resolved


@configured(Config)
def serve(**flags: Any) -> None:
    """Serve covers, by default from one process, one SQLite file and one folder of images."""
    import sys

    import uvloop

    from eyecatch.observe.logs import configure
    from eyecatch.wiring.serve import serve as run

    with readable_errors():
        config = resolved(Config, flags)
        configure(config.log_format)
        for name, value in config.shown().items():
            typer.echo(f"  {name:22} {value}", err=True)

        def ready(port: int) -> None:
            typer.echo(f"eyecatch ready on {config.host}:{port}")
            sys.stdout.flush()

        uvloop.run(run(config, ready))
