"""Logging: structured events on standard error, readable or JSON. Call sites never pass a user id."""

import logging
import sys

import structlog


def configure(log_format: str, **always: object) -> None:
    """`always`: what every line says besides."""
    # The Kafka client warns on every attempt to connect, in its own form; we say the same once, in ours.
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
