"""Pictures in a folder, a zip or a tar(.gz), one at a time, without unpacking to disk. Knows no data set and no label.

A member that cannot be used is refused with its name and a reason, and reading goes on; of a damaged archive the intact part is read.
"""

from __future__ import annotations

import gzip
import io
import lzma
import mmap
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from icg import pictures
from icg.errors import IcgError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error)
BROKEN += (OSError, EOFError, ValueError, RuntimeError, LookupError, OverflowError, MemoryError)
"""Errors of the decoders for damaged archives; RuntimeError also for a zip's password and an unknown compression."""
MAX_TAR_HEADER, MAX_SKIPPED = 1 << 20, 1 << 30
"""Bytes: a longer name or attribute in a tar, or a longer member that would be decompressed only to skip it, ends the archive."""
LOCAL, LOCAL_SIZE = b"PK\x03\x04", 30
ENCRYPTED, UNKNOWN_SIZES, UTF8 = 1, 8, 0x800
"""Flags of a zip's local header."""

Refuse = Callable[[str, str, str], None]
"""Takes the kind of refusal, the member's name and the full reason."""


class Refusal(IcgError):
    """A member cannot be read. `kind`: the reason in a few words."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Member:
    """A picture's file: its name, its size in bytes by the archive (None: not stated), and its position for `Source.read`."""

    name: str
    size: int | None
    position: Any


class Archive(Protocol):
    """An archive of pictures. `members` refuses only what cannot become a Member; `read` raises one of BROKEN or Refusal."""

    def members(self, refuse: Refuse) -> Iterator[Member]: ...

    def read(self, member: Member) -> bytes: ...

    def close(self) -> None: ...


def open_source(path: Path, refuse: Refuse) -> Archive:
    """The source at `path`; its first bytes tell its kind. Raises IcgError for anything else."""
    if path.is_dir():
        return Folder(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise IcgError(f"archive={str(path)!r}: {error.strerror}; allowed: a folder, .zip, .tar or .tar.gz") from error
    if start[:2] == b"\x1f\x8b":
        return Tar(path, packed=True)
    if start[:2] != b"PK":
        if start and path.suffix.lower() not in (".tar", ""):
            raise IcgError(f"archive={str(path)!r} begins with {start!r}; allowed: a folder, .zip, .tar or .tar.gz")
        return Tar(path, packed=False)
    try:
        return Zip(path)
    except BROKEN as error:
        refuse("a damaged archive", path.name, f"{error}; read from the front up to the damage")
        return DamagedZip(path)


def pictures_of(source: Archive, path: Path, refuse: Refuse) -> Iterator[Member]:
    """The members of `source` that may be pictures, in its order. Never raises for the archive's content."""
    try:
        for member in source.members(refuse):
            if reason := unsafe(member.name):
                refuse("an unsafe name", member.name, reason)
            elif PurePosixPath(member.name).suffix.lower() not in SUFFIXES:
                refuse("no picture", member.name, f"allowed: {', '.join(SUFFIXES)}")
            elif member.size is not None and not 0 < member.size <= pictures.MAX_BYTES:
                kind = "a member too large" if member.size else "an empty member"
                refuse(kind, member.name, f"{member.size} bytes; allowed: 1..{pictures.MAX_BYTES}")
            else:
                yield member
    except BROKEN as error:
        refuse("a damaged archive", path.name, f"{type(error).__name__}: {error}; the members before it are used")


def read(source: Archive, member: Member) -> bytes:
    """All bytes of a member. Raises Refusal if they are damaged, cut short or more than stated."""
    try:
        data = source.read(member)
    except BROKEN as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal("a damaged member", f"{type(error).__name__}: {error}") from error
    if member.size is not None and len(data) != member.size:
        raise Refusal("a damaged member", f"{len(data)} bytes where {member.size} are stated")
    return data


def unsafe(name: str) -> str:
    """Why a name is refused; "" for a name below the archive's root."""
    if name.startswith("/") or re.match("[A-Za-z]:", name) or "\\" in name or ".." in name.split("/"):
        return "it leads out of the archive; allowed: a relative path with forward slashes"
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", name):
        return "it has control characters or is not UTF-8; allowed: text"
    return ""


class Folder:
    """An unpacked archive. Files in the order of their names, folder by folder; links are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def members(self, refuse: Refuse) -> Iterator[Member]:
        for folder, subfolders, files in os.walk(self.path):
            subfolders.sort()
            for path in (Path(folder, file) for file in sorted(files)):
                name = path.relative_to(self.path).as_posix()
                if path.is_symlink() or not path.is_file():
                    refuse("a link or device", name, "allowed: a file")
                else:
                    yield Member(name, path.stat().st_size, path)

    def read(self, member: Member) -> bytes:
        with Path(member.position).open("rb") as file:
            return file.read(pictures.MAX_BYTES + 1)

    def close(self) -> None:
        pass


class Zip:
    """A zip with its directory; some hundred bytes a member are in memory while it is open."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)

    def members(self, refuse: Refuse) -> Iterator[Member]:
        for info in self._zip.infolist():
            if info.flag_bits & ENCRYPTED:
                refuse("an encrypted member", info.filename, "allowed: no password")
            elif not info.is_dir():
                yield Member(info.filename, info.file_size, info)

    def read(self, member: Member) -> bytes:
        with self._zip.open(member.position) as file:
            return file.read(pictures.MAX_BYTES + 1)

    def close(self) -> None:
        self._zip.close()


class DamagedZip:
    """A zip without its directory, read by the header before each member. Some sizes are known only after decompression."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def members(self, refuse: Refuse) -> Iterator[Member]:
        at = self._bytes.find(LOCAL)
        while 0 <= at <= len(self._bytes) - LOCAL_SIZE:
            head = self._bytes[at : at + LOCAL_SIZE]
            size: int | None
            crc: int | None
            flags, method, crc, packed, size, length, extra = struct.unpack("<6xHH4xLLLHH", head)
            start = at + LOCAL_SIZE + length + extra
            raw = self._bytes[at + LOCAL_SIZE : at + LOCAL_SIZE + length]
            name = raw.decode("utf-8" if flags & UTF8 else "cp437", "replace")
            if flags & UNKNOWN_SIZES:
                crc, packed, size = None, 0, None  # they follow the data
            if flags & ENCRYPTED or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                refuse("a damaged member", name, f"flags {flags:#x}, method {method}; allowed: stored or deflated")
            elif not name.endswith("/"):
                yield Member(name, size, (start, packed, method, crc))
            at = self._bytes.find(LOCAL, start + packed)

    def read(self, member: Member) -> bytes:
        start, packed, method, crc = member.position
        if method == zipfile.ZIP_STORED:
            data = self._bytes[start : start + packed]
        else:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            until = start + (packed or pictures.MAX_BYTES)
            data = inflate.decompress(self._bytes[start:until], pictures.MAX_BYTES + 1)
            if not inflate.eof:
                raise Refusal("a damaged member", f"cut short, or more than {pictures.MAX_BYTES} bytes")
        if crc is None:
            return data if method == zipfile.ZIP_DEFLATED else b""
        if zlib.crc32(data) != crc:
            raise Refusal("a damaged member", "its checksum differs")
        return data

    def close(self) -> None:
        self._bytes.close()


class Tar:
    """A tar, read from front to back. Reading a member again is cheap, except one before the last of a .tar.gz, which starts over."""

    def __init__(self, path: Path, packed: bool) -> None:
        self._raw, self._packed = path.open("rb"), packed
        self._file: IO[bytes] = gzip.GzipFile(fileobj=self._raw) if packed else self._raw

    def members(self, refuse: Refuse) -> Iterator[Member]:
        headers = _TarHeaders(self._file)
        with tarfile.open(fileobj=headers, mode="r:") as tar:  # type: ignore[call-overload]
            before = -1
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
                if tar.offset <= before:
                    raise tarfile.ReadError("a header leads backwards")
                before = tar.offset
                if info.isreg():
                    yield Member(info.name, info.size, info.offset_data)
                elif not info.isdir():
                    refuse("a link or device", info.name, "allowed: a file")
                if self._packed and info.size > MAX_SKIPPED:
                    raise tarfile.ReadError(f"{info.name!r} of {info.size} bytes; allowed: at most {MAX_SKIPPED}")
            if headers.last != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end of archive")

    def read(self, member: Member) -> bytes:
        self._file.seek(member.position)
        return self._file.read(member.size or 0)

    def close(self) -> None:
        self._file.close()
        self._raw.close()


class _TarHeaders(io.RawIOBase):
    """Remembers the last block, which distinguishes a whole tar from one cut between members; refuses endless headers."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.last = file, b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_TAR_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes; allowed: 0..{MAX_TAR_HEADER}")
        self.last = self._file.read(size)
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
