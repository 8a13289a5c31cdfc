"""A table's cell as a time. Knows no table."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo

from icg.errors import InputError

MILLISECONDS = 1e11
"""Numbers from here on are milliseconds: as seconds this is the year 5138, as milliseconds 1973."""


class NoZoneError(InputError):
    """An ISO 8601 time without a zone, if no zone is assumed."""


def seconds(text: str, zone: tzinfo | None = UTC, name: str = "time") -> float:
    """UNIX seconds of UNIX seconds, UNIX milliseconds or ISO 8601. `zone`: of times without one.

    Raises InputError for anything else, NaN included, and NoZoneError for a time without a zone if `zone` is None.
    """
    try:
        number = float(text)
    except ValueError:
        return _iso(text, zone, name)
    if not math.isfinite(number):
        raise _error(text, name)
    return number / 1000 if abs(number) >= MILLISECONDS else number


def _iso(text: str, zone: tzinfo | None, name: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None and zone is None:
            raise NoZoneError(name, repr(text[:80]), "a time with a zone, or a zone for all times")
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise error if isinstance(error, NoZoneError) else _error(text, name) from None


def _error(text: str, name: str) -> InputError:
    return InputError(name, repr(text[:80]), "UNIX seconds, UNIX milliseconds or ISO 8601")
