"""eyecatch serve: the server, with one flag for each field of the configuration."""

from typing import Any

from eyecatch.addresses import joined
from eyecatch.commands.common import run_process
from eyecatch.commands.flags import configured
from eyecatch.config import Config


@configured(Config)
def serve(**flags: Any) -> None:
    """Serve covers, by default from one process, one SQLite file and one folder of images."""
    from eyecatch.wiring.serve_processes import serve as run

    run_process(Config, flags, run, lambda config, port: f"eyecatch ready on {joined(config.host, port)}")
