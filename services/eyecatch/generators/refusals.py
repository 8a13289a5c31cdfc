"""Refusals of the learning library -> errors of the core, the same whether they were raised in this process or sent by a Triton server.

icg.draw.ask names the kinds in the words of gRPC; deploy/triton sends such a word in brackets before the text.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from eyecatch.core.errors import EyecatchError, InternalError, InvalidInput, NotFound, NotReady, Unavailable, Violation

_NAMED = re.compile(r"(\w+)(?:\[\d+\])?[ =](.*); allowed: (.*)", re.S)


def error_of(word: str, text: str) -> EyecatchError:
    """Only Unavailable may succeed when the same request comes again."""
    named = _NAMED.match(text)
    field, value, allowed = named.groups() if named else ("brief", text, "a brief the model accepts")
    if word == "INVALID_ARGUMENT":
        return InvalidInput([Violation(field, value, allowed)])
    if word == "NOT_FOUND":
        return NotFound(field.removesuffix("_id"), value.strip("'"), allowed)
    if word == "FAILED_PRECONDITION":
        return NotReady(text)
    if word == "UNAVAILABLE":
        return Unavailable(f"no room: {text}")
    if word == "CANCELLED":
        return Unavailable(f"generation was cancelled: {text}")
    return InternalError(text)


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of icg as those of the core."""
    from icg.draw.ask import word
    from icg.errors import IcgError

    try:
        yield
    except IcgError as error:
        raise error_of(word(error), str(error)) from error
