"""A cell of a table as a moment. Knows no table."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo

from icg.errors import InputError

MILLISECONDS = 1e11
"""A number from here on is milliseconds: as seconds it would be the year 5138, as milliseconds it is 1973."""


class NoZoneError(InputError):
    """An ISO 8601 time without a zone, if none is assumed."""


def seconds(text: str, zone: tzinfo | None = UTC, name: str = "time") -> float:
    """UNIX seconds of UNIX seconds, UNIX milliseconds or ISO 8601. `zone` is that of a time that names none.

    Raises InputError for anything else, NaN included, and NoZoneError for a time without a zone if `zone` is None.
    """
    try:
        number = float(text)
    except ValueError:
        return _iso(text, zone, name)
    if not math.isfinite(number):
        raise _refused(text, name)
    return number / 1000 if abs(number) >= MILLISECONDS else number


def _iso(text: str, zone: tzinfo | None, name: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None and zone is None:
            raise NoZoneError(name, repr(text[:80]), "a zone in it, or one named for all")
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise error if isinstance(error, NoZoneError) else _refused(text, name) from None


def _refused(text: str, name: str) -> InputError:
    return InputError(name, repr(text[:80]), "UNIX seconds, UNIX milliseconds or ISO 8601")
