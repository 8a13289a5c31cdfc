"""A part of delimited text or of JSON -> records. Decodes and splits lines; knows no column's meaning."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from icg.data.tables import delimiters
from icg.data.tables.delimiters import Delimiter
from icg.data.tables.encodings import Encoding
from icg.data.tables.files import LONGEST_LINE, TablePart, Unpacked
from icg.data.tables.records import Records

SAMPLE = 100
EVERY = 16
"""Lines between two looks at the place in the file."""
_WHITE = " \t\r\n\ufeff"
_BETWEEN = _WHITE + ","


@dataclass
class Progress:
    """`place`: bytes of the part that were read; `damage`: why the part ends early, "" if it does not."""

    place: int = 0
    damage: str = ""


def lines(part: TablePart, encoding: Encoding, progress: Progress) -> Iterator[str]:
    """The part's lines with their ends; a longer one than LONGEST_LINE in pieces. Bytes without a meaning become surrogates."""
    with Unpacked(part.path) as source:
        errors = "surrogateescape" if encoding.keeps_bytes else "replace"
        end = "\r" if _only_returns(part, encoding) else "\n"
        with io.TextIOWrapper(io.BufferedReader(source, 1 << 16), encoding.name, errors, newline=end) as text:
            characters, number = 0, 0
            while line := text.readline(LONGEST_LINE):
                characters, number = characters + len(line), number + 1
                if number % EVERY == 0:
                    progress.place = min(source.place, characters)  # the buffer is ahead of the lines
                yield line if encoding.keeps_bytes else line.replace("\ufffd", "\udcfd")
        progress.damage = source.damage


def _only_returns(part: TablePart, encoding: Encoding) -> bool:
    """Whether lines end as on old Macs."""
    with Unpacked(part.path) as source:
        head = io.BufferedReader(source).read(1 << 16).decode(encoding.name, "replace")
    return "\r" in head and "\n" not in head


@dataclass(frozen=True)
class TextLayout:
    """How delimited text is read: its delimiter, the cells of its header (() without one), and how many lines come before the rows."""

    delimiter: Delimiter
    header: tuple[str, ...]
    above: int = 0


def layout(part: TablePart, encoding: Encoding, delimiter: str, names: tuple[str, ...]) -> TextLayout:
    """The layout by the first lines. `delimiter`: "" to detect it. `names`: of the columns of a file without a header."""
    first = [line.rstrip("\r\n") for line in islice(lines(part, encoding, Progress()), 2 * SAMPLE) if line.strip()]
    marked = bool(first) and first[0].lower().startswith("sep=") and len(first[0]) <= 6  # Excel writes such a line
    if marked:
        delimiter, first = delimiter or first[0][4:], first[1:]
    sample = first[:SAMPLE]
    mark = delimiters.requested(delimiter, sample) if delimiter else delimiters.detect(part.suffix, sample)
    header = next(iter(Records(chain(lines(part, encoding, Progress())), mark.text, mark.width)), [])
    if marked:
        rest = islice(iter(Records(lines(part, encoding, Progress()), mark.text, mark.width)), 1, 2)
        header = next(rest, [])
    cells = tuple(header) if isinstance(header, list) else ()
    same = [c.strip().lower() for c in cells[: len(names)]] == [n.strip().lower() for n in names]
    if names and not same:
        return TextLayout(mark, (), int(marked))
    return TextLayout(mark, cells, int(marked) + 1)


def records(
    part: TablePart, encoding: Encoding, layout: TextLayout, width: int, progress: Progress
) -> Iterator[list[str] | str]:
    """The rows of delimited text."""
    return islice(iter(Records(lines(part, encoding, progress), layout.delimiter.text, width)), layout.above, None)


def objects(part: TablePart, encoding: Encoding, progress: Progress) -> Iterator[dict[str, Any] | str]:
    """The rows of JSON Lines, or of one JSON array, as objects; a text says what is wrong with a line."""
    source = lines(part, encoding, progress)
    first = next((line for line in source if line.strip(_WHITE)), "")
    whole = chain([first], source)
    if first.lstrip(_WHITE).startswith("[") and not first.strip(_WHITE).endswith("]"):
        yield from _array(whole)
        return
    if first.lstrip(_WHITE).startswith("[{"):
        yield from _array(whole)
        return
    for line in whole:
        if line.strip(_WHITE):
            yield _object(lambda text=line: json.loads(text.strip(_WHITE)))  # type: ignore[misc]


def _object(read: Callable[[], object]) -> dict[str, Any] | str:
    try:
        entry = read()
    except (ValueError, RecursionError) as error:
        return f"not JSON: {str(error)[:200]}"
    return entry if isinstance(entry, dict) else f"{_kind(entry)}; allowed: a JSON object"


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")


def _array(source: Iterator[str]) -> Iterator[dict[str, Any] | str]:
    """The elements of one array over any lines. What comes after a damaged element cannot be told from it."""
    decoder, text, place = json.JSONDecoder(), next(source).lstrip(_WHITE)[1:], 0
    while True:
        while place < len(text) and text[place] in _BETWEEN:
            place += 1
        if text[place : place + 1] == "]":
            return
        value: object = None
        with suppress(ValueError, RecursionError):
            value, place = decoder.raw_decode(text, place)
            yield value if isinstance(value, dict) else f"{_kind(value)}; allowed: a JSON object"
            continue
        more = "".join(islice(source, 64))
        if not more or len(text) - place > LONGEST_LINE:
            yield f"not JSON, nor can anything after it be read: {text[place : place + 40]!r}"
            return
        text, place = text[place:] + more, 0
