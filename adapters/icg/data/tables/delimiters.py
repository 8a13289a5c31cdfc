"""The first lines of a text -> what stands between its cells, and how many cells a row has. Knows no column."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from icg.errors import InputError

DELIMITERS = (",", "\t", ";", "|", "::")
WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True)
class Delimiter:
    """`text` between two cells; `width`: the usual number of cells; `how`: "" for that of the file's name, else shown to the user."""

    text: str
    width: int
    how: str = ""


def requested(name: str, lines: Sequence[str]) -> Delimiter:
    """The delimiter that the caller names, as itself or as a word. Raises InputError for one that cannot be one."""
    text = WORDS.get(name.lower(), name)
    if not 1 <= len(text) <= 8 or any(mark in text for mark in '"\r\n') or text.isalnum():
        raise InputError("delimiter", repr(name[:60]), "one of , ; | :: tab, or other marks, no letter and no quote")
    return Delimiter(text, _widths(text, lines).most_common(1)[0][0], "as requested")


def detect(suffix: str, lines: Sequence[str]) -> Delimiter:
    """The delimiter by which most of the first lines have as many cells as the first; that of the suffix in doubt."""
    usual = "\t" if suffix in (".tsv", ".tab") else ","
    best, shares = Delimiter(usual, 1), {}
    for text in sorted(DELIMITERS, key=lambda mark: (mark != usual, -len(mark))):
        widths = _widths(text, lines)
        width = next(iter(widths), 1)
        share = widths[width] / max(len(lines), 1)
        if width > 1 and share > shares.get(best.text, 0.0) + (0.05 if best.width > 1 else 0.0):
            best, shares[text] = Delimiter(text, width, "" if text == usual else "detected"), share
    return best


def _widths(text: str, lines: Sequence[str]) -> Counter[int]:
    """How many lines have how many cells; the first line's number comes first."""
    return Counter(len(cells(line, text) or line.split(text)) for line in lines) or Counter({1: 1})


def cells(line: str, delimiter: str) -> list[str] | None:
    """The cells of one whole row in one line, None if its quotes are not as in RFC 4180."""
    if '"' not in line or len(delimiter) > 1:
        return line.split(delimiter)
    try:
        return next(csv.reader((line,), delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        return None
