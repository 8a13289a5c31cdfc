"""The pictures that a row of a table names -> decoded pictures, and those that are missing. Knows no item and no store."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eyecatch.core.catalog import Picture
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import MAX_REFERENCES
from eyecatch.importing.tables import Row, optional
from eyecatch.pictures import NoSuchPicture, earlier_names, file_inside, normalise

_BETWEEN = re.compile(r"\s*[|,]\s*")


@dataclass(frozen=True)
class RowPictures:
    """`missing`: in words, each picture that the row names and no file has."""

    pictures: tuple[Picture, ...] = ()
    missing: tuple[str, ...] = ()


def pictures_of(row: Row, columns: Sequence[str], root: Path, file_name: str = "") -> RowPictures:
    """The pictures of a row; empty cells are skipped, and the same picture in two columns counts once.

    A cell may hold several paths, with "|" or commas between them. `file_name`: one more path, "" for none. Raises InvalidInput for a
    picture that cannot be read, for a path out of `root`, and for more than MAX_REFERENCES pictures.
    """
    pictures: dict[bytes, Picture] = {}
    missing = [f"{column}: {row.unfit[column]}" for column in columns if row.unfit and column in row.unfit]
    for column, path in _paths(row, columns, root, file_name):
        try:
            picture = file_picture(root, path, column)
        except NoSuchPicture as error:
            missing.append(str(error))
        else:
            pictures.setdefault(picture.data, picture)
    if len(pictures) > MAX_REFERENCES:
        raise InvalidInput.of("pictures", f"{len(pictures)} pictures", f"at most {MAX_REFERENCES}")
    return RowPictures(tuple(pictures.values()), tuple(missing))


def file_picture(root: Path, path: str, column: str) -> Picture:
    """The picture in a file below `root`. Raises InvalidInput, or NoSuchPicture, naming `column`."""
    picture = normalise(file_inside(root, path, column), column)
    return replace(picture, earlier=lambda: earlier_names(file_inside(root, path, column), column))


def _paths(row: Row, columns: Sequence[str], root: Path, file_name: str) -> Iterator[tuple[str, str]]:
    for column in columns:
        cell = optional(row.values.get(column, ""))
        if _BETWEEN.search(cell) and "\0" not in cell and len(cell) < 4096 and not (root / cell).is_file():
            yield from ((column, path) for path in _BETWEEN.split(cell) if path)
        elif cell:
            yield column, cell
    if file_name:
        yield "picture_name", file_name
