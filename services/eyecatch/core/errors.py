"""The error tree. Messages say what is wrong and what is allowed; only api/status.py turns errors into gRPC codes.

EyecatchError
├── InvalidInput          a field of the request is not allowed   (INVALID_ARGUMENT)
├── NotFound              the named thing does not exist           (NOT_FOUND)
├── Conflict              the same key was used for something else (ALREADY_EXISTS)
├── NotReady              the request needs something that does not exist yet (FAILED_PRECONDITION)
├── Unauthenticated       nobody knows who calls                   (UNAUTHENTICATED)
├── Denied                the caller lacks a right                 (PERMISSION_DENIED)
├── Overloaded            refused early; try again later           (RESOURCE_EXHAUSTED)
├── Unavailable           a part we depend on does not answer      (UNAVAILABLE)
│   └── StoreFull         the disk or the store is full
├── Cancelled             the caller went away or ran out of time  (CANCELLED)
├── InternalError         a defect of Eyecatch; the log has the details (INTERNAL)
└── StoreError            the store cannot be opened or read       (FAILED_PRECONDITION)
    ├── StoreLocked       another process uses the same file
    ├── StoreTooNew       a newer version wrote the stored data
    ├── StoreLost         the store lacks what it had
    └── StoreDamaged      the stored data is not what was written
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

CALLER_GONE = "the caller went away"
OVER_BUDGET = "over budget"
"""The error of a job that the budget has no room for starts with this."""


class EyecatchError(Exception):
    """The base of all errors that this package raises on purpose. They can be pickled: workers of a Ray cluster raise them too."""

    def __reduce__(self) -> tuple[Callable[..., "EyecatchError"], tuple[Any, ...]]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[EyecatchError], args: tuple[Any, ...], state: dict[str, Any]) -> EyecatchError:
    # Not by the constructor, whose parameters are not `args`.
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


@dataclass(frozen=True)
class Violation:
    """One refused field: its path in the request, the shortened value and what is allowed."""

    field: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.field}: got {self.value}; allowed: {self.allowed}"


def shorten(value: object, limit: int = 60) -> str:
    """A printable form of any value, at most `limit` characters, safe to put in a message."""
    text = repr(value[: limit + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class InvalidInput(EyecatchError):
    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, value: object, allowed: str) -> "InvalidInput":
        return cls([Violation(field, shorten(value), allowed)])


class NotFound(EyecatchError):
    """`allowed`: the ids that exist, in words, if they can be listed."""

    def __init__(self, kind: str, id: str, allowed: str = "") -> None:
        super().__init__(f"no {kind} {shorten(id)}" + (f"; allowed: {allowed}" if allowed else ""))
        self.kind, self.id, self.allowed = kind, id, allowed


class Conflict(EyecatchError):
    """An idempotency key or id that is already used for something different."""


class NotReady(EyecatchError):
    """The request is valid but the state it needs is missing, for example the taste of a user without behaviour."""


class Unauthenticated(EyecatchError):
    pass


class Denied(EyecatchError):
    """The message names the right that is missing."""


class Overloaded(EyecatchError):
    def __init__(self, what: str, retry_after_s: float = 1.0) -> None:
        super().__init__(f"{what}; try again in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class Unavailable(EyecatchError):
    def __init__(self, what: str, retry_after_s: float = 1.0) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s


class StoreFull(Unavailable):
    pass


class Cancelled(EyecatchError):
    pass


class InternalError(EyecatchError):
    pass


class StoreError(EyecatchError):
    pass


class StoreLocked(StoreError):
    pass


class StoreTooNew(StoreError):
    pass


class StoreLost(StoreError):
    pass


class StoreDamaged(StoreError):
    pass
