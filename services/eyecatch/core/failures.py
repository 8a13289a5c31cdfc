"""Why a job failed, in the form that stores keep: an error becomes a Failure, and later an error again for the caller."""

from collections.abc import Callable
from dataclasses import dataclass

from eyecatch.core.errors import (
    CALLER_GONE,
    OVER_BUDGET,
    Cancelled,
    EyecatchError,
    InternalError,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    StoreError,
    Unavailable,
    Violation,
)

BUDGET_WAIT_S = 60.0
KINDS: tuple[tuple[type[EyecatchError], str], ...] = (
    (InvalidInput, "invalid-input"),
    (NotFound, "not-found"),
    (NotReady, "not-ready"),
    (StoreError, "not-ready"),
    (Overloaded, "overloaded"),
    (Unavailable, "unavailable"),
    (Cancelled, "cancelled"),
)
"""The kinds are stored: names must never change or get another meaning."""


@dataclass(frozen=True)
class Failure:
    """kind: one of KINDS, "internal", or "" for a failure that was stored before kinds were; then only its text is known.

    details: the fields or ids that the error named, as (field or kind of thing, value or id, what is allowed).
    """

    text: str = ""
    kind: str = ""
    details: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def of(cls, error: EyecatchError) -> "Failure":
        kind = next((kind for type, kind in KINDS if isinstance(error, type)), "internal")
        details: list[tuple[str, str, str]] = []
        if isinstance(error, InvalidInput):
            details = [(v.field, v.value, v.allowed) for v in error.violations]
        elif isinstance(error, NotFound):
            details = [(error.kind, error.id, error.allowed)]
        return cls(str(error), kind, tuple(details))

    def error(self) -> EyecatchError:
        """The error for the caller of the job. Only Overloaded and Unavailable may succeed on another try."""
        return _ERRORS.get(self.kind, _without_kind)(self)


def _without_kind(failure: Failure) -> EyecatchError:
    if failure.text == CALLER_GONE:
        return Cancelled(failure.text)
    if failure.text.startswith(OVER_BUDGET):
        return Overloaded(failure.text, BUDGET_WAIT_S)
    return Unavailable(f"generation failed: {failure.text}")


_ERRORS: dict[str, Callable[[Failure], EyecatchError]] = {
    "invalid-input": lambda f: InvalidInput([Violation(*each) for each in f.details]),
    "not-found": lambda f: NotFound(*f.details[0]),
    "not-ready": lambda f: NotReady(f.text),
    "overloaded": lambda f: Overloaded(f.text, BUDGET_WAIT_S),
    "cancelled": lambda f: Cancelled(f.text),
    "internal": lambda f: InternalError(f"generation failed: {f.text}"),
}

NONE = Failure()
GONE = Failure.of(Cancelled(CALLER_GONE))
