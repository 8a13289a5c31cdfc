"""Logging: structured events on standard error, as text or JSON. Callers never pass a user id."""

import logging
import sys

import structlog


def configure(log_format: str, **always: object) -> None:
    """`log_format`: "json" or "console". `always`: fields of every line."""
    # The Kafka client warns on every attempt to connect; we log the same once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    renderer = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            lambda logger, method, event: {**always, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
