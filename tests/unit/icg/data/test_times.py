"""Times in tables."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from icg.data.times import NoZoneError, seconds
from icg.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("964982703", 964982703),
        ("964982703.5", 964982703.5),
        ("964982703500", 964982703.5),
        ("2000-07-30T18:45:03Z", 964982703),
        ("2000-07-30 18:45:03", 964982703),
        ("2000-07-30T20:45:03+02:00", 964982703),
    ],
)
def test_the_usual_times_are_unix_seconds(text: str, expected: float) -> None:
    assert seconds(text) == expected


def test_a_time_without_a_zone_is_in_the_zone_of_the_table() -> None:
    assert seconds("2000-07-30 20:45:03", ZoneInfo("Europe/Paris")) == 964982703
    with pytest.raises(NoZoneError, match="posted='2000-07-30 20:45:03'; allowed: a time with a zone"):
        seconds("2000-07-30 20:45:03", None, "posted")


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "2000-13-01"])
def test_other_text_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="allowed: UNIX seconds, UNIX milliseconds or ISO 8601"):
        seconds(text)
