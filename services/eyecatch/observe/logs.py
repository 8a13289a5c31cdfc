"""Logging: structured events on standard error, as text or JSON. Callers never pass a user id."""

import logging
import sys
import threading
from types import TracebackType
from typing import Any

import structlog


def configure(log_format: str, **always: object) -> None:
    """`log_format`: "json" or "console". `always`: fields of every line.

    With "json" what else would be written becomes such lines too: logs of libraries, warnings, and the traceback of a crash.
    """
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
    if log_format == "json":
        logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
        logging.captureWarnings(True)
        sys.excepthook = _crashed
        threading.excepthook = lambda args: _crashed(args.exc_type, args.exc_value, args.exc_traceback)


class _Libraries(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _crashed(kind: type[BaseException], error: Any, trace: TracebackType | None) -> None:
    structlog.get_logger(__name__).critical("crashed", exc_info=(kind, error, trace))
