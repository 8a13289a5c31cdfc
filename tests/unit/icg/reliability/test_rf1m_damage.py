"""RF1M archives that are hostile, truncated or damaged: intact members are read, the rest is counted."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from icg import pictures
from icg.errors import IcgError
from icg.reliability import archives
from icg.reliability.rf1m import RF1M, Part

from tests.unit.icg.reliability.archive_files import WRITERS, Files, all_of, image, noise, only, write_tar, write_zip


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_hostile_and_useless_members_are_refused_by_name(tmp_path: Path, write: Callable[[Path, Files], None]) -> None:
    whole = image(1)
    files = {
        "../1.png": whole,
        "/etc/2.png": whole,
        "c:/3.png": whole,
        "a/../../4.png": whole,
        "5\x07.png": whole,
        "notes.txt": b"hello",
        "6.png": b"no picture",
        "7.png": whole[: len(whole) // 2],
        "8.png": b"",
        "9.png": bytes(pictures.MAX_BYTES + 1),
        "10.png": image(2, size=(8, 8)),
        "11.png": whole,
    }
    examples, report = all_of(only(tmp_path, files, "".join(f"{n} 1\n" for n in range(1, 12)), write))
    assert [example.name for example in examples] == ["11"]
    assert report.refused == {
        "an unsafe name": 5,
        "no picture": 1,
        "a damaged picture": 3,
        "an empty member": 1,
        "a member too large": 1,
        "a row without a picture": 7,
    }
    assert all(entry["reason"] for entry in report.shown)


def test_links_devices_and_passwords_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    write_zip(tmp_path / "b.zip", {"2.png": image(2)})
    data = bytearray((tmp_path / "b.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= archives.ENCRYPTED
    (tmp_path / "b.zip").write_bytes(data)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/3.png").symlink_to("/etc/passwd")
    (tmp_path / "label.txt").write_text("1 1\n")
    examples, report = all_of(
        RF1M(tmp_path / "label.txt", (Part(3, tuple(tmp_path / n for n in ("a.tar", "b.zip", "c"))),))
    )
    assert examples == []
    assert report.refused == {"a link or device": 2, "an encrypted member": 1, "a row without a picture": 1}


def test_a_zip_that_states_less_than_it_holds_is_not_inflated(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"1.png": bytes(60_000_000)})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, 1000)
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "label.txt").write_text("1 1\n")
    tracemalloc.start()
    examples, report = all_of(RF1M(tmp_path / "label.txt", (Part(2, (tmp_path / "a.zip",)),)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert examples == []
    assert sum(report.refused.values()) == 1
    assert peak < 2 * pictures.MAX_BYTES + 10_000_000


@pytest.mark.parametrize("kind", ["p.zip", "p.tar", "p.tar.gz"])
def test_a_truncated_archive_yields_its_whole_members(tmp_path: Path, kind: str) -> None:
    files = {f"{n}.png": noise(n) for n in range(8)}
    WRITERS[kind](tmp_path / kind, files)
    whole = (tmp_path / kind).read_bytes()
    (tmp_path / kind).write_bytes(whole[: len(whole) * 6 // 10])
    (tmp_path / "label.txt").write_text("".join(f"{n} 1\n" for n in range(8)))
    examples, report = all_of(RF1M(tmp_path / "label.txt", (Part(2, (tmp_path / kind,)),)))
    assert [example.name for example in examples] == [str(n) for n in range(len(examples))]
    assert 3 <= len(examples) <= 5
    assert report.refused["a damaged archive"] == 1
    assert report.pictures + report.refused.get("a damaged member", 0) + report.refused["a row without a picture"] == 8


@cache
def test_a_truncated_tar_cut_between_members_is_noticed(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"1.png": image(1)})
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: 512 + -(-len(image(1)) // 512) * 512])
    (tmp_path / "label.txt").write_text("1 1\n")
    examples, report = all_of(RF1M(tmp_path / "label.txt", (Part(2, (tmp_path / "a.tar",)),)))
    assert len(examples) == 1
    assert report.refused == {"a damaged archive": 1}


def test_a_zip_written_to_a_pipe_is_read_without_its_directory(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]  # sizes come after the data
        for n in range(4):
            archive.writestr(f"{n}.png", noise(n))
    data = bytes(pipe.data)
    (tmp_path / "a.zip").write_bytes(data[: data.index(b"PK\x01\x02")])
    (tmp_path / "label.txt").write_text("0 1\n1 1\n2 1\n3 1\n")
    examples, report = all_of(RF1M(tmp_path / "label.txt", (Part(2, (tmp_path / "a.zip",)),)))
    assert [example.digest for example in examples] == [hashlib.sha256(noise(n)).hexdigest() for n in range(4)]
    assert report.refused == {"a damaged archive": 1}


@pytest.mark.parametrize("kind", ["p.zip", "p.tar", "p.tar.gz"])
def test_damage_anywhere_never_raises(tmp_path: Path, kind: str) -> None:
    # A JPEG has no checksum; that of a tar.gz comes too late, and a PNG has its own.
    files = {f"{n}.png": image(n, "JPEG", (160, 120)) if kind == "p.zip" else noise(n) for n in range(3)}
    WRITERS[kind](tmp_path / kind, files)
    whole = (tmp_path / kind).read_bytes()
    (tmp_path / "label.txt").write_text("0 1\n1 1\n2 1\n")
    rng = np.random.default_rng(0)
    good = {hashlib.sha256(data).hexdigest() for data in files.values()}
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(4, len(data), rng.integers(1, 30)):
            data[at] = rng.integers(256)
        (tmp_path / kind).write_bytes(data[: rng.integers(len(data) // 2, len(data) + 1)])
        examples, report = all_of(RF1M(tmp_path / "label.txt", (Part(2, (tmp_path / kind,)),)))
        if kind != "p.tar":  # a plain tar has no checksum of its data
            assert {example.digest for example in examples} <= good
        assert len(examples) == 3 or report.refused


@pytest.mark.parametrize(
    ("kind", "size", "reason"),
    [
        (tarfile.GNUTYPE_LONGNAME, 2**32, "a header of 4294967296 bytes"),
        (tarfile.XHDTYPE, 2**32, "a header of 4294967296 bytes"),
        (b"0", -512, "leads backwards"),
    ],
)
def test_tar_headers_without_end_or_leading_back_stop_the_archive(
    tmp_path: Path, kind: bytes, size: int, reason: str
) -> None:
    info = tarfile.TarInfo("x.png")
    info.type, info.size = kind, abs(size)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if size < 0:
        block[124:136] = b"\xff" + (256**11 + size).to_bytes(11, "big")
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(tarfile.TarInfo("y.png").tobuf() + bytes(block) + bytes(10_000))
    (tmp_path / "label.txt").write_text("1 1\n")
    examples, report = all_of(RF1M(tmp_path / "label.txt", (Part(2, (tmp_path / "a.tar.gz",)),)))
    assert examples == []
    assert report.refused["a damaged archive"] == 1
    assert any(reason in str(entry["reason"]) for entry in report.shown)


def test_a_file_that_is_no_archive_is_refused_before_the_first_pass(tmp_path: Path) -> None:
    (tmp_path / "label.txt").write_text("1 1\n")
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07")
    for name in ("a.rar", "missing.zip"):
        with pytest.raises(IcgError, match=rf"{name}.*allowed: a folder"):
            RF1M(tmp_path / "label.txt", (Part(2, (tmp_path / name,)),))
    with pytest.raises(IcgError, match="classes=4; allowed: 5, 6"):
        RF1M(tmp_path / "label.txt", (), classes=4)
    with pytest.raises(IcgError, match=r"cut_outs='\('; allowed"):
        Part(1, (), (), "(")
