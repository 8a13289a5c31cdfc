"""Times in tables."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from icg.data.times import EARLIEST, LATEST, UNITS, NoZoneError, seconds
from icg.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("964982703", 964982703),
        ("964982703.5", 964982703.5),
        ("964982703500", 964982703.5),
        ("2000-07-30T18:45:03Z", 964982703),
        ("964982703500000", 964982703.5),
        ("964982703500000000", 964982703.5),
        ("9.64982703e8", 964982703),
        ("2000-07-30 18:45:03", 964982703),
        ("2000-07-30 18:45:03 UTC", 964982703),
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
    with pytest.raises(InputError, match="allowed: a time from 1990 to 2100"):
        seconds(text)


@pytest.mark.parametrize(
    "text", ["0", "1000", "20231114", "45000", "20231114221320", "1970-01-01T00:00:00Z", "0001-01-01", "-5", "5e9"]
)
def test_nothing_lands_in_another_time_by_a_wrong_unit(text: str) -> None:
    with pytest.raises(InputError, match="1990 to 2100"):
        seconds(text)


def test_a_stated_unit_or_form_decides() -> None:
    assert seconds("1000", unit="s") == 1000
    assert seconds("1000", unit="ms") == 1
    assert seconds("964982703000", unit="us") == 964982.703
    assert seconds("20000730184503", form="%Y%m%d%H%M%S") == 964982703
    with pytest.raises(InputError, match="allowed: a time as %d/%m/%Y"):
        seconds("2000-07-30", form="%d/%m/%Y")


def test_the_four_units_of_a_time_do_not_overlap() -> None:
    assert LATEST < EARLIEST * 1000
    assert set(UNITS) == {"s", "ms", "us", "ns"}
