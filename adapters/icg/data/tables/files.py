"""A path -> the files of a table: one file, or a folder of parts; their kind by their first bytes, and their bytes, decompressed.

Names say little (`part-00000`, `u.item`, `reviews.json.gz`), so the first bytes decide what a file is.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from icg.errors import InputError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
PACKED = (".gz", ".bz2", ".xz", ".zst")
LONGEST_LINE = 1 << 24
"""Characters. A longer line is refused, so that a file without line ends does not fill the memory."""
FOREIGN = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite file",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
ALLOWED = (
    "a CSV, TSV, JSON Lines or Parquet file, also compressed by gzip, bzip2, xz or zstd, or a folder of such parts"
)
_LAKES = {"_delta_log": "a Delta Lake table", ".hoodie": "a Hudi table"}
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
HEAD = 1 << 16


@dataclass(frozen=True)
class TablePart:
    """A file of a table. `kind`: "parquet", "json" or "text". `keys`: columns that the names of its folders give (`day=1`)."""

    path: Path
    kind: str
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The last suffix in lower case, without that of a compression."""
        suffixes = [s.lower() for s in self.path.suffixes]
        return next((s for s in reversed(suffixes) if s not in PACKED), "")


def parts(path: Path) -> list[TablePart]:
    """The files of the table at `path`, in the order of their names. Raises InputError for anything but a table."""
    if path.is_dir():
        return _parts_inside(path)
    if not path.exists():
        raise InputError("file", repr(str(path)), "a file or folder that exists; there is no such file")
    if not path.is_file():
        raise InputError("file", repr(str(path)), "a file or a folder, not a device or a pipe")
    return [TablePart(path, kind(path))]


def _parts_inside(folder: Path) -> list[TablePart]:
    for name, lake in _LAKES.items():
        if (folder / name).exists():
            raise InputError("file", f"{str(folder)!r}, {lake}", "its present rows, exported to Parquet or CSV")
    members = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder).parts
        if path.is_file() and path.stat().st_size and not any(name[0] in "._" for name in inner):
            pairs = (name.partition("=") for name in inner[:-1])
            keys = {key: "" if value == HIVE_NULL else unquote(value) for key, sign, value in pairs if sign}
            members.append(TablePart(path, kind(path), keys))
    if not members:
        raise InputError("file", f"{str(folder)!r}, a folder without parts", ALLOWED)
    if len({(part.kind, part.suffix) for part in members}) > 1:
        names = ", ".join(part.path.name for part in members[:6])
        raise InputError(
            "file", f"{str(folder)!r}, a folder of different files ({names})", "one file, or the parts of one table"
        )
    return members


def kind(path: Path) -> str:
    """The kind of a file by its first bytes. Raises InputError for one that is no table."""
    try:
        with Unpacked(path) as source:
            head = io.BufferedReader(source).read(HEAD)
    except OSError as error:
        raise InputError("file", repr(str(path)), f"a file that can be read ({error.strerror})") from error
    if source.damage and not head:
        raise InputError("file", repr(path.name), f"a complete file ({source.damage})")
    if head[:4] == b"PAR1":
        return "parquet"
    foreign = next((words for magic, words in FOREIGN.items() if head.startswith(magic)), "")
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[1:8:2].count(0) > 1 or head[0:8:2].count(0) > 1
    few = head.count(0) <= len(head) // 100  # some exports have a zero byte in a cell: its row is damaged, not the file
    if foreign or (not few and not wide):
        raise InputError("file", f"{path.name!r}, {foreign or 'a file of other bytes than text'}", ALLOWED)
    if TablePart(path, "").suffix in (".parquet", ".pq"):
        raise InputError("file", repr(path.name), "a Parquet file; its first bytes are not those of one")
    start = head.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").lstrip()[:1]
    named_json = TablePart(path, "").suffix in (".json", ".jsonl", ".ndjson")
    return "json" if start in (b"{", b"[") or named_json else "text"


class Unpacked(io.RawIOBase):
    """A file's bytes, decompressed as its first bytes say. `place`: how many bytes of the file itself have been read.

    A damaged or incomplete file ends early: `damage` says why, "" for none. Raises OSError if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._stream, self.damage = _unpacked(self._file, path), ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except Exception as error:  # noqa: BLE001 (the errors of four libraries; zstandard's is an Exception)
            self.damage = str(error) or type(error).__name__
            return 0
        buffer[: len(data)] = data
        return len(data)

    @property
    def place(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._file.close()
        super().close()


def _unpacked(file: BinaryIO, path: Path) -> BinaryIO:
    magic = file.read(6)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if magic[:3] == b"BZh":
        return cast(BinaryIO, bz2.BZ2File(file))
    if magic == b"\xfd7zXZ\0":
        return cast(BinaryIO, lzma.LZMAFile(file))
    if magic[:4] != b"\x28\xb5\x2f\xfd":
        return file
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise InputError("file", f"{path.name!r}, compressed by zstd", "gzip, or pip install zstandard") from error
    return cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
