"""A value of a table -> the text that a CSV file would have, or the reason why it has none. Knows no table and no column."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time
from decimal import Decimal

NUL_MARK = "\\N"
"""How MySQL and Hive write a missing value."""
_SURROGATE = re.compile("[\ud800-\udfff]")
EXACT = 2.0**53
"""Floats from here on may stand for several whole numbers."""


class CellProblem(str):
    """Why a value cannot be used as text: what it is, and what is allowed."""

    __slots__ = ()


TEXT = "text, a number or a time"


def cell(value: object) -> str:
    """The value as text: "" for None and NaN, whole floats without a point, lists joined by "|".

    An object, a boolean, bytes that are not UTF-8 and an infinite number give a CellProblem.
    """
    if value is None:
        return ""
    if type(value) is str:
        return decoded(value)
    if isinstance(value, list | tuple):
        return _joined(value)
    return _scalar(value)


def decoded(text: str) -> str:
    """The text itself, or a CellProblem for one with surrogates: they stand for bytes that the encoding does not have."""
    if not text.isascii() and _SURROGATE.search(text):
        shown = _SURROGATE.sub("\ufffd", text)[:60]
        return CellProblem(f"{shown!r}; allowed: text in the encoding of the table (--encoding)")
    return text


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return CellProblem(f"{str(value).lower()}, a truth value; allowed: {TEXT}")
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int | Decimal):
        return "" if isinstance(value, Decimal) and value.is_nan() else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return CellProblem(f"{len(value)} bytes; allowed: text in UTF-8")
    kind = "an object" if isinstance(value, dict) else f"a {type(value).__name__}"
    return CellProblem(f"{kind}; allowed: {TEXT}")


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return CellProblem(f"{value}; allowed: a finite number")
    return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)


def _joined(values: list[object] | tuple[object, ...]) -> str:
    """Missing numbers stay as nan, because a vector without them has another width; other missing values are left out."""
    numbers = any(isinstance(value, float) for value in values)
    parts = []
    for value in values:
        if isinstance(value, list | tuple):
            return CellProblem("lists in a list; allowed: a list of texts or numbers")
        part = decoded(value) if isinstance(value, str) else "" if value is None else _vector_number(value)
        if isinstance(part, CellProblem):
            return CellProblem(f"a list with {part}")
        if part or numbers:
            parts.append(part or "nan")
    return "|".join(parts)


def _vector_number(value: object) -> str:
    return repr(value) if isinstance(value, float) and math.isinf(value) else _scalar(value)
