"""Small RF1M data sets in every container format."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from icg.data.catalogue import RowReport
from icg.reliability.labels import Labels, Layout
from icg.reliability.rf1m import RF1M, Example, Part, RF1MReport
from PIL import Image

CLASSES = ("Available", "Space Mismatch", "Size Mismatch", "Indistinctiveness", "Shape Hallucination", "Unsuitable")
Files = dict[str, bytes]


def image(seed: int, format: str = "PNG", size: tuple[int, int] = (40, 32), mode: str = "RGB") -> bytes:
    """Smooth, so that a JPEG is close to it; RGBA has a square cut out."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    pixels = np.stack([x * 255, y * 255, np.full_like(x, seed * 37 % 256)], -1).astype(np.uint8)
    if mode == "RGBA":
        alpha = np.zeros(pixels.shape[:2], np.uint8)
        alpha[4:-4, 4:-4] = 255
        pixels = np.dstack([pixels, alpha])
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format)
    return out.getvalue()


def write_zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_tar(path: Path, files: Files, mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_folder(path: Path, files: Files) -> None:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


WRITERS: dict[str, Callable[[Path, Files], None]] = {
    "p.zip": write_zip,
    "p.tar": write_tar,
    "p.tar.gz": lambda path, files: write_tar(path, files, "w:gz"),
    "p": write_folder,
}
kinds = pytest.mark.parametrize("kind", WRITERS)


def data_set(folder: Path, kind: str = "p.zip", count: int = 6, **more: Any) -> RF1M:
    """`count` JPEGs of products of two pictures each, the first class first, and cut-outs of all but the last."""
    folder.mkdir(exist_ok=True)
    shots = {f"images/{n // 2:03}_{n % 2}.jpg": image(n, "JPEG") for n in range(count)}
    cuts = {f"products/{n // 2:03}_{n % 2}.png": image(n, mode="RGBA") for n in range(count - 1)}
    WRITERS[kind](folder / f"pictures_{kind}", shots)
    WRITERS[kind](folder / f"products_{kind}", cuts)
    rows = "".join(f"{n // 2:03}_{n % 2}.jpg\t{CLASSES[n % 6]}\n" for n in range(count))
    (folder / "label.txt").write_text(rows)
    part = Part(1, (folder / f"pictures_{kind}",), (folder / f"products_{kind}",))
    return RF1M(folder / "label.txt", (part,), **more)


def only(folder: Path, files: Files, rows: str, write: Callable[[Path, Files], None] = write_zip, **more: Any) -> RF1M:
    """One archive of pictures without cut-outs, as subset 2."""
    write(folder / "a.bin.zip" if write is write_zip else folder / "a.tar", files)
    (folder / "label.txt").write_text(rows)
    return RF1M(folder / "label.txt", (Part(2, tuple(folder.glob("a.*"))),), **more)


def all_of(data: RF1M, split: str | None = None) -> tuple[list[Example], RF1MReport]:
    reading = data.read(split)
    return list(reading), reading.report()


def labels_of(path: Path, text: str | bytes, layout: Layout | None = None) -> tuple[Labels, RowReport]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    tally = RowReport()
    return Labels(path, layout or Layout(), tally), tally


def noise(seed: int) -> bytes:
    """A PNG of 5,000 bytes that no archive makes smaller."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def gradient(scale: float, picture: Image.Image) -> np.ndarray:
    """(H, W) magnitude of the grey picture's gradient, 1 at its steepest times `scale`."""
    y, x = np.gradient(np.asarray(picture.convert("L"), np.float32))
    steep = np.hypot(x, y)
    return (scale * steep / max(float(steep.max()), 1e-6)).astype(np.float16)
