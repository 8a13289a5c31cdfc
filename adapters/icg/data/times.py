"""A table's cell as a time. What may mean two times is refused, or read as the caller says. Knows no table."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo

from icg.errors import InputError

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
"""A number is a time in the one unit that puts it between these. The four ranges do not overlap, and no day number or date is in one."""
_ZONE = re.compile(r"\s*(UTC|GMT|Z)$")
ALLOWED = "a time from 1990 to 2100: UNIX seconds, milliseconds, microseconds or nanoseconds, or ISO 8601"


class NoZoneError(InputError):
    """An ISO 8601 time without a zone, if no zone is assumed."""


def seconds(text: str, zone: tzinfo | None = UTC, name: str = "time", unit: str = "", form: str = "") -> float:
    """UNIX seconds of a UNIX time or of ISO 8601.

    zone: of times without one. unit: of all numbers (a key of UNITS), "" for the one unit that gives a time from 1990 to 2100.
    form: how times are written, as in `datetime.strptime`, "" for ISO 8601. Raises InputError for anything else, also for NaN and for
    times before 1990 that no unit speaks for, and NoZoneError for a time without a zone if `zone` is None.
    """
    try:
        number = float(text)
    except ValueError:
        return _moment(text, zone, name, form)
    if form:
        return _moment(text, zone, name, form)
    if not math.isfinite(number):
        raise _error(text, name)
    if unit:
        return number / UNITS[unit]
    for scale in UNITS.values():
        if EARLIEST <= number / scale < LATEST:
            return number / scale
    raise InputError(name, repr(text[:80]), f"{ALLOWED}; or state the unit of numbers (--time-unit)")


def check_unit(unit: str) -> None:
    """Raises InputError for a unit that does not exist; "" is allowed."""
    if unit and unit not in UNITS:
        raise InputError("time_unit", repr(unit[:80]), ", ".join(UNITS))


def _moment(text: str, zone: tzinfo | None, name: str, form: str) -> float:
    try:
        moment = datetime.strptime(text, form) if form else datetime.fromisoformat(_ZONE.sub("+00:00", text))
        if moment.tzinfo is None and zone is None:
            raise NoZoneError(name, repr(text[:80]), "a time with a zone, or a zone for all times")
        time = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise error if isinstance(error, NoZoneError) else _error(text, name, form) from None
    if not EARLIEST <= time < LATEST:
        raise _error(text, name)
    return time


def _error(text: str, name: str, form: str = "") -> InputError:
    return InputError(
        name, repr(text[:80]), f"a time as {form}" if form else f"{ALLOWED}; or state its form (--time-format)"
    )
