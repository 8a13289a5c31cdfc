"""Files on a real disk: whole or absent, also when there is no room."""

import subprocess
import sys
from pathlib import Path

import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.stores.blobs import FsspecBlobs

# The kernel's own limit on the size of a file: a write above it fails as on a full disk.
_LIMITED = """
import asyncio, resource, signal, sys
from eyecatch.core.errors import StoreFull
from eyecatch.stores.blobs import FsspecBlobs

async def main():
    blobs = FsspecBlobs(sys.argv[1])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    try:
        await blobs.put(b"x" * 100_000, "webp")
    except StoreFull:
        print(await blobs.put(b"small", "webp"))

asyncio.run(main())
"""


def test_no_room_is_store_full_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("blob:"), done.stderr
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p.read_bytes() for p in files] == [b"small"]


async def test_a_file_cut_short_by_a_crash_is_written_again(tmp_path: Path) -> None:
    blobs = FsspecBlobs(str(tmp_path))
    uri = await blobs.put(b"whole", "webp")
    next(p for p in tmp_path.rglob("*") if p.is_file()).write_bytes(b"wh")
    assert await blobs.put(b"whole", "webp") == uri
    assert await blobs.get(uri) == b"whole"


async def test_a_folder_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable):
        await FsspecBlobs(str(tmp_path / "file")).put(b"x", "webp")
