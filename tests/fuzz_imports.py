"""Damaged tables and pictures: `python -m tests.fuzz_imports --tables 20000 --pictures 20000` counts what becomes of them.

Every outcome must be rows that add up, a refused table, a picture or a refused picture; anything else is printed with its seed. The last
line is one JSON object.
"""

import argparse
import asyncio
import bz2
import gzip
import io
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from eyecatch.core.catalog import Catalog
from eyecatch.core.errors import InvalidInput
from eyecatch.core.ports import Blobs
from eyecatch.importing import ImportOptions, Table, import_items
from eyecatch.pictures import normalise
from PIL import Image

ROWS = [
    {"id": f"k{n}", "title": f'Théière "{n}", rouge', "category": None if n % 3 else "thé", "price": n / 4}
    for n in range(40)
]


def tables() -> dict[str, bytes]:
    """Whole tables by the name of their file."""
    frame, out = pl.DataFrame(ROWS), io.BytesIO()
    frame.write_parquet(out)
    csv, lines = frame.write_csv().encode(), "\n".join(map(json.dumps, ROWS)).encode()
    latin = frame.write_csv(separator=";").encode("latin-1")
    array = json.dumps(ROWS, ensure_ascii=False).encode("utf-16")
    packed = {"t.csv.gz": gzip.compress(csv), "t.jsonl.bz2": bz2.compress(lines)}
    return {"t.csv": csv, "t.tsv": latin, "t.jsonl": lines, "t.json": array, "t.parquet": out.getvalue(), **packed}


def pictures() -> dict[str, bytes]:
    """Whole pictures by name."""
    y, x = np.mgrid[:48, :64]
    colours = Image.fromarray(np.stack([x * 4, y * 5, 0 * x + 99], -1).astype(np.uint8))
    clear = colours.convert("RGBA")
    clear.putalpha(Image.fromarray((x * 4).astype(np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "JPEG": (colours, {"exif": exif}),
        "PNG": (clear, {}),
        "WEBP": (clear, {}),
        "GIF": (colours.quantize(16), {"transparency": 3}),
        "BMP": (colours, {}),
        "AVIF": (colours, {}),
    }
    out = {}
    for kind, (image, options) in kinds.items():
        if kind in Image.SAVE:
            data = io.BytesIO()
            image.save(data, kind, **options)
            out[kind] = data.getvalue()
    gray = io.BytesIO()
    colours.convert("L").save(gray, "PNG", transparency=9)
    return {**out, "PNG key": gray.getvalue()}


def damaged(data: bytes, chance: random.Random) -> bytes:
    """One to four changes: other bytes, a piece left out, moved or twice, marks of a table, an early end."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place, size = chance.randrange(len(out) + 1), chance.choice((1, 1, 2, 7, 60))
        match chance.randrange(6):
            case 0:
                out[place : place + size] = chance.randbytes(size)
            case 1:
                del out[place : place + size]
            case 2:
                out[place:place] = out[place : place + size]
            case 3:
                out[place:place] = chance.choice(
                    (b'"', b"\n", b"\r", b"\0", b"\xff", b",", b"\\", b"{", b"]", b"\xed\xa0\x80", b"nan", b"1e999")
                )
            case 4:
                out[place : place + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
            case 5:
                del out[place:]
        out = out or bytearray(b"\0")
    return bytes(out)


async def read_table(path: Path) -> str:
    """What becomes of a table."""
    try:
        # A check touches neither catalogue nor blobs, and asserts that the rows add up.
        nothing = cast(Catalog, None), cast(Blobs, None)
        report = await import_items(Table(path), path.parent, *nothing, options=ImportOptions(check=True))
    except InvalidInput:
        return "table refused"
    return "rows refused or unread" if report.refusals or report.unread else "all rows stored"


def read_picture(data: bytes) -> str:
    """What becomes of a picture."""
    try:
        normalise(data, "image")
    except InvalidInput:
        return "picture refused"
    return "picture stored"


def run(
    count: int, wholes: dict[str, bytes], look: Callable[[str, bytes], str], seed: int
) -> tuple[Counter[str], list[str]]:
    """Outcomes of `count` damaged inputs, and those that are none of the allowed."""
    outcomes, failures = Counter[str](), list[str]()
    names = sorted(wholes)
    for n in range(count):
        name = names[n % len(names)]
        data = damaged(wholes[name], random.Random(f"{seed} {n}"))
        try:
            outcomes[look(name, data)] += 1
        except Exception as error:  # what a user would see as a traceback
            failures.append(f"{seed} {n} {name}: {type(error).__name__}: {str(error)[:200]}")
    return outcomes, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=20_000)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, failures = fuzz(Path(folder), args.tables, args.pictures, args.seed)
    for failure in failures[:20]:
        print(failure)
    print(json.dumps({**outcomes, "failures": len(failures)}))


def fuzz(folder: Path, table_count: int, picture_count: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Outcomes and failures of both."""

    def look(name: str, data: bytes) -> str:
        (folder / name).write_bytes(data)
        return asyncio.run(read_table(folder / name))

    first = run(table_count, tables(), look, seed)
    second = run(picture_count, pictures(), lambda _, data: read_picture(data), seed)
    return first[0] + second[0], first[1] + second[1]


if __name__ == "__main__":
    main()
