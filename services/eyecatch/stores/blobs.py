"""The Blobs port: image files addressed by a digest, on any fsspec file system. A URI, `blob:<sha256>.<suffix>`, holds no path.

A local file appears whole or not at all (written under another name, fsynced, renamed), as in object stores.
"""

import asyncio
import errno
import hashlib
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from eyecatch.addresses import without_secrets
from eyecatch.core.errors import EyecatchError, InvalidInput, NotFound, StoreFull, Unavailable

T = TypeVar("T")

_URI = re.compile(r"blob:([0-9a-f]{64})\.([a-z0-9]{1,8})")
_NAME = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"[a-z0-9]{1,8}")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FsspecBlobs:
    """`root` is a folder or an fsspec URL: file:///var/lib/eyecatch/blobs, s3://bucket/covers, memory://covers."""

    def __init__(self, root: str) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(root)
        except (ImportError, ValueError) as error:  # a package that a scheme needs; an unknown scheme
            raise InvalidInput.of(
                "blob_url", without_secrets(root), f"a folder or a URL that can be read here ({error})"
            ) from error
        self._local = isinstance(self._fs, LocalFileSystem)

    async def put(self, data: bytes, suffix: str, name: str = "") -> str:
        """`suffix`: the ending of the file name ("webp"); a leading dot is ignored. `name`: in place of the digest of `data`."""
        ending = suffix.removeprefix(".")
        if not _SUFFIX.fullmatch(ending):
            raise InvalidInput.of("suffix", suffix, "1 to 8 lower-case letters or digits")
        if name and not _NAME.fullmatch(name):
            raise InvalidInput.of("name", name, "64 hexadecimal digits")
        digest = name or hashlib.sha256(data).hexdigest()
        await self._in_thread(lambda: self._write(self._path(digest, ending), data, bool(name)))
        return f"blob:{digest}.{ending}"

    async def get(self, uri: str) -> bytes:
        path = self._resolve(uri)
        try:
            return await self._in_thread(lambda: bytes(self._fs.cat_file(path)))
        except FileNotFoundError:
            raise NotFound("picture", uri) from None

    async def delete(self, uri: str) -> None:
        path = self._resolve(uri)
        try:
            await self._in_thread(lambda: self._fs.rm_file(path))
        except FileNotFoundError:
            return

    def _path(self, digest: str, suffix: str) -> str:
        return f"{self._root.rstrip('/')}/{digest[:2]}/{digest}.{suffix}"

    def _resolve(self, uri: str) -> str:
        match = _URI.fullmatch(uri)
        if match is None:
            raise NotFound("picture", uri)
        return self._path(match[1], match[2])

    def _write(self, path: str, data: bytes, named: bool) -> None:
        """A blob with a name stays what it is: an encoder of another version gives other bytes of the same picture."""
        if self._fs.exists(path) and (size := self._fs.size(path)) and (named or size == len(data)):
            return
        if self._local:
            _write_whole(Path(path), data)
        else:
            self._fs.pipe_file(path, data)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread and translate errors of the file system, but for FileNotFoundError."""
        try:
            return await asyncio.to_thread(work)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _translate(error) from error


def _translate(error: OSError) -> EyecatchError:
    if error.errno in _NO_ROOM:
        return StoreFull("the disk for pictures is full; free disk space", 30.0)
    return Unavailable(f"the picture store does not answer ({error.strerror or type(error).__name__})")


def _write_whole(path: Path, data: bytes) -> None:
    folder = path.parent
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync(folder.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync(folder)


def _sync(folder: Path) -> None:
    """Sync the names of files in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
