"""eyecatch generate: a process that makes covers for servers."""

from typing import Any

from eyecatch.addresses import joined
from eyecatch.commands.common import fail, run_process
from eyecatch.commands.flags import configured
from eyecatch.reader_config import GenerateConfig


@configured(GenerateConfig)
def generate(**flags: Any) -> None:
    """Make the covers that servers with --generation workers request over Kafka. Several processes can share the work."""
    try:
        from eyecatch.wiring.generate import generate as run
    except ModuleNotFoundError as error:
        fail(f"error: making covers for other processes needs {error.name}: pip install 'eyecatch[kafka,redis]'")

    def ready(config: GenerateConfig, port: int) -> str:
        return f"eyecatch generate: health on http://{joined(config.health_host, port)}/health"

    run_process(GenerateConfig, flags, run, ready)
