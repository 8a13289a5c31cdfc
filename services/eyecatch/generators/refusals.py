"""Errors of icg -> errors of the core, for errors raised in this process and errors sent by a Triton server.

icg.draw.ask names their kinds as gRPC does; deploy/triton sends the kind in brackets before the text.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from eyecatch.core.errors import EyecatchError, InternalError, InvalidInput, NotFound, NotReady, Unavailable, Violation

_TEXT = re.compile(r"(\w+)(?:\[\d+\])?[ =](.*); allowed: (.*)", re.S)


def error_of(status: str, text: str) -> EyecatchError:
    """The error for a kind and a text. Only Unavailable may succeed when the request is repeated."""
    match = _TEXT.match(text)
    field, value, allowed = match.groups() if match else ("brief", text, "a brief the model accepts")
    if status == "INVALID_ARGUMENT":
        return InvalidInput([Violation(field, value, allowed)])
    if status == "NOT_FOUND":
        return NotFound(field.removesuffix("_id"), value.strip("'"), allowed)
    if status == "FAILED_PRECONDITION":
        return NotReady(text)
    if status == "UNAVAILABLE":
        return Unavailable(f"no room: {text}")
    if status == "CANCELLED":
        return Unavailable(f"generation was cancelled: {text}")
    return InternalError(text)


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of icg that are raised inside into errors of the core."""
    from icg.draw.ask import status_name
    from icg.errors import IcgError

    try:
        yield
    except IcgError as error:
        raise error_of(status_name(error), str(error)) from error
