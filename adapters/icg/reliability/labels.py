"""RF1M's classes, and label.txt, which gives each picture one. Knows no archive and no picture.

Towards Reliable Advertising Image Generation Using Human Feedback (arXiv 2408.00418), its data set.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from pathlib import Path

from icg.data.catalogue import RowReport
from icg.errors import IcgError

MAX_LINE = 65_536
SAMPLED = 100
"""Rows that determine the separator."""
SEPARATORS = ("\t", ",", " ")
COLUMNS = ("name", "label", "caption", "product", "")
CONTRADICTED = -1


class Availability(IntEnum):
    """An inspector's verdict on a generated picture, in the order of RFNet's logits. The paper has the first five."""

    AVAILABLE = 0
    SPACE_MISMATCH = 1
    """The product floats, or stands where it could not."""
    SIZE_MISMATCH = 2
    """The surroundings make it too large or too small."""
    INDISTINCTIVENESS = 3
    """It does not stand out from the background."""
    SHAPE_HALLUCINATION = 4
    """The background adds a part that the product does not have."""
    UNSUITABLE = 5
    """The product's photograph was bad. RF1M has this label."""


PUBLISHED = tuple(Availability(n) for n in (0, 5, 1, 2, 3, 4))
"""The numbering in the data's own description, which differs from the paper's."""


def available(label: Availability) -> bool:
    """The coarse label: whether the picture may be shown."""
    return label == Availability.AVAILABLE


@dataclass(frozen=True)
class Layout:
    """The layout of label.txt. Its description explains the labels, not the rows, so everything about rows is a setting.

    columns: the content of each cell: "name" and "label", optionally "caption" and "product", "" for an unused cell. The last
    column takes the rest of the line.
    separator: between cells; None uses the first of tab, comma and white space that splits most of the first rows.
    numbers: the classes of the numbers, from `first` on. Class names are read in any case, with "_" or "-" for " ".
    encoding: a superset of ASCII, such as "utf-8" or "gb18030".
    depth: how many of the last parts of a path identify a picture: 1 is the file's name alone, 2 includes its folder.
    product: a regular expression for that path without its suffix; its group 1 is the product. The default removes a last "_" and
    number. Unused if there is a product column. If the report counts as many products as pictures, it does not fit.
    """

    columns: tuple[str, ...] = ("name", "label")
    separator: str | None = None
    numbers: tuple[Availability, ...] = PUBLISHED
    first: int = 1
    encoding: str = "utf-8"
    depth: int = 1
    product: str = r"(.+?)(?:_\d+)?"

    def __post_init__(self) -> None:
        used = [column for column in self.columns if column]
        if len(set(used)) < len(used) or not {"name", "label"} <= set(used) <= set(COLUMNS):
            raise IcgError(f"columns={self.columns}; allowed: name and label, maybe caption and product, once each")
        if self.separator == "" or self.depth < 1:
            raise IcgError(f"separator={self.separator!r}, depth={self.depth}; allowed: None or text, and 1 or more")
        try:
            groups = re.compile(self.product).groups
        except re.error:
            groups = 0
        if not groups:
            raise IcgError(f"product={self.product!r}; allowed: a regular expression with group 1")

    def key(self, name: str) -> str:
        """The key that a picture, its row and its product's cut-out share: the path's last parts without the suffix."""
        parts = name.replace("\\", "/").strip("/").split("/")[-self.depth :]
        stem, dot, _ = parts[-1].rpartition(".")
        return "/".join([*parts[:-1], stem if dot and stem else parts[-1]])

    def label(self, text: str) -> Availability | None:
        """None for a text that is not a class."""
        name = text.strip().strip('"').upper().replace(" ", "_").replace("-", "_")
        if name.isascii() and name.isdigit() and len(name) < 9:
            at = int(name) - self.first
            return self.numbers[at] if 0 <= at < len(self.numbers) else None
        return Availability.__members__.get(name)


class Labels:
    """The rows of label.txt by key, some two hundred bytes a picture.

    Unusable rows are refused to `tally`. Raises IcgError for a file that is unreadable or has no row with a label, and for a file whose
    numbers start elsewhere than the layout's: every class would be wrong.
    """

    def __init__(self, path: Path, layout: Layout, tally: RowReport) -> None:
        self.layout = layout
        self._row: dict[str, int] = {}
        self._label, self._number = array("b"), array("q")
        self._more: dict[int, tuple[str, str]] = {}
        beyond = {str(layout.first - 1), str(layout.first + len(layout.numbers))}
        for number, cells in self._cells(path, tally):
            key, label = layout.key(cells["name"]), layout.label(cells["label"])
            if label is None:
                if cells["label"].strip() in beyond:
                    raise IcgError(
                        f"label={cells['label'].strip()!r} in row {number} of {path.name!r}; allowed: from {layout.first} on "
                        f"for {len(layout.numbers)} classes; a layout's `first` and `numbers` say otherwise"
                    )
                tally.refuse("an unknown label", path.name, number, key, f"label {cells['label'][:80]!r}")
            elif not key:
                tally.refuse("a damaged row", path.name, number, "", "no name")
            elif key in self._row:
                same = self._label[self._row[key]] == label
                tally.refuse("a doubled row" if same else "contradicting rows", path.name, number, key, "named before")
                if not same:
                    self._label[self._row[key]] = CONTRADICTED
            else:
                if cells.get("caption") or cells.get("product"):
                    self._more[len(self._row)] = (cells.get("caption", "").strip(), cells.get("product", "").strip())
                self._row[key] = len(self._row)
                self._label.append(label)
                self._number.append(number)
        if not self._row:
            raise IcgError(f"labels={str(path)!r}: no row with a label; allowed: a name and a label a row")
        self.path = path

    def __len__(self) -> int:
        return len(self._row)

    def find(self, key: str) -> int | None:
        """The row of a picture, None without one."""
        return self._row.get(key)

    def of(self, row: int) -> tuple[Availability | None, str, str]:
        """(label, None if rows contradict each other; caption or ""; product or "")."""
        label = self._label[row]
        return (None if label == CONTRADICTED else Availability(label), *self._more.get(row, ("", "")))

    def unmet(self, met: bytearray, tally: RowReport) -> None:
        """Refuse the rows whose picture was not found; `met` is 1 at the others."""
        for key, row in self._row.items():
            if not met[row]:
                tally.refuse("a row without a picture", self.path.name, self._number[row], key, "no such file")

    def _cells(self, path: Path, tally: RowReport) -> Iterator[tuple[int, dict[str, str]]]:
        count, separator = len(self.layout.columns), self.layout.separator
        if separator is None:
            first = [text for _, text in islice(_lines(path, self.layout.encoding, RowReport()), SAMPLED)]
            separator = max(SEPARATORS, key=lambda s: sum(len(_split(text, s, count)) == count for text in first))
        for number, text in _lines(path, self.layout.encoding, tally):
            cells = _split(text, separator, count)
            if len(cells) != count:
                tally.refuse("a damaged row", path.name, number, cells[0], f"{len(cells)} cells; allowed: {count}")
            else:
                yield number, dict(zip(self.layout.columns, cells, strict=True))


def _split(text: str, separator: str, count: int) -> list[str]:
    return text.split(None if separator == " " else separator, count - 1)


def _lines(path: Path, encoding: str, tally: RowReport) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of every line that is not blank, without its line end."""
    try:
        with path.open("rb") as file:
            if (start := file.read(2)) in (b"\xff\xfe", b"\xfe\xff"):
                raise IcgError(f"labels={str(path)!r} begins with {start!r}, as UTF-16 does; allowed: {encoding}")
            file.seek(0)
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    tally.refuse("a damaged row", path.name, number, "", f"over {MAX_LINE} bytes; allowed: fewer")
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE)
                    continue
                try:
                    text = line.decode(encoding).removeprefix("\ufeff").rstrip("\r\n")
                except UnicodeDecodeError:
                    tally.refuse("a wrong encoding", path.name, number, "", f"not {encoding}")
                    continue
                if text.strip():
                    yield number, text
    except (OSError, LookupError) as error:
        raise IcgError(f"labels={str(path)!r}: {error}; allowed: a text file in {encoding}") from error
