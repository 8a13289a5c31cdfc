"""Importing users' own vectors: which cells are vectors, what is refused and why."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from eyecatch.core.behaviour.vectors import VectorIntake, known_width
from eyecatch.core.errors import InvalidInput
from eyecatch.encoders.vectors import project
from eyecatch.importing import Report, Table
from eyecatch.importing.users import UserColumns, import_users

from tests.contracts.builders import MEAN
from tests.unit.importing.conftest import Home


async def run(home: Home, path: Path, columns: UserColumns | None = None) -> Report:
    intake = VectorIntake(home.store.vectors, home.store.notes, MEAN, project)
    return await import_users(Table(path), intake, columns)


async def stored(home: Home) -> dict[str, list[float]]:
    return {
        key: row
        async for rows in home.store.vectors.scan()
        for key, row in zip(rows.keys, rows.vectors.tolist(), strict=True)
    }


async def test_lists_in_every_table_are_vectors(home: Home, tmp_path: Path) -> None:
    rows = {"user_id": ["mia", "noah"], "embedding": [[0.5, -2.0, 0.0], [1.0, 1e-3, 7.25]]}
    frame = pl.DataFrame(rows)
    frame.write_parquet(tmp_path / "lists.parquet")
    frame.with_columns(pl.col("embedding").cast(pl.Array(pl.Float32, 3))).write_parquet(tmp_path / "arrays.parquet")
    frame.write_ndjson(tmp_path / "rows.jsonl")
    (tmp_path / "bars.csv").write_text("user,vector\nmia,0.5|-2|0\nnoah,1|1e-3|7.25\n")
    (tmp_path / "brackets.csv").write_text('user,vector\nmia,"[0.5, -2.0, 0.0]"\nnoah,"[1, 1e-3,7.25]"\n')
    (tmp_path / "columns.csv").write_text("user,a,b,c\nmia,0.5,-2,0\nnoah,1,0.001,7.25\n")
    for name in ("lists.parquet", "arrays.parquet", "rows.jsonl", "bars.csv", "brackets.csv", "columns.csv"):
        columns = UserColumns(embedding=("a", "b", "c")) if name == "columns.csv" else None
        report = await run(home, tmp_path / name, columns)
        assert (report.accepted, report.unchanged, report.refused) == (2, 0, []), name
        rows_now = await stored(home)
        assert rows_now == {k: pytest.approx(v) for k, v in zip(rows["user_id"], rows["embedding"], strict=True)}, name


async def test_bad_rows_are_refused_and_good_ones_stay(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    wide = "|".join(["1"] * 1025)
    cells = ["1|2", "1|2|3", "1|nan", "1|inf", "1|1e39", "0|0", "", "1|x", wide, "3|4"]
    path.write_text("user,vector\n" + "".join(f"u{n},{cell}\n" for n, cell in enumerate(cells)) + "u0,5|6\n,1|1\n")
    report = await run(home, path)
    assert report.accepted == 2
    assert set(await stored(home)) == {"u0", "u9"}
    reasons = {r.row: r.reason for r in report.refused}
    words = {
        2: "got '3 numbers'; allowed: 2, as in the other vectors",
        3: "embedding[1]: got nan; allowed: a finite number",
        4: "inf",
        5: "inf",
        6: "zeros alone",
        7: "0 numbers",
        8: "vector: got",
        9: "1025 numbers",
        11: "each id once",
        12: "user_id",
    }
    assert list(reasons) == list(words)
    for row, text in words.items():
        assert text in reasons[row], (row, reasons[row])


async def test_the_first_width_stays(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user,vector\nmia,1|2\n")
    await run(home, path)
    path.write_text("user,vector\nmia,1|2|3\n")
    report = await run(home, path)
    assert (report.accepted, len(report.refused)) == (0, 1)
    assert await known_width(home.store.notes) == 2
    assert (await stored(home))["mia"] == [1, 2]


async def test_forgotten_users_count_as_unchanged_and_a_table_without_vectors_is_refused(
    home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user,vector\nmia,1|2\n")
    await home.store.profiles.forget("mia")
    report = await run(home, path)
    assert (report.accepted, report.unchanged) == (0, 1)
    path.write_text("user,numbers\nmia,1|2\n")
    with pytest.raises(InvalidInput, match=r"columns\.embedding.*user, numbers"):
        await run(home, path)


async def test_the_widest_vector_survives(home: Home, tmp_path: Path) -> None:
    row = np.random.default_rng(0).standard_normal(1024).astype(np.float32)
    path = tmp_path / "users.csv"
    path.write_text("user,vector\nmia," + "|".join(map(str, row.tolist())) + "\n")
    assert (await run(home, path)).accepted == 1
    assert np.array_equal(np.array((await stored(home))["mia"], np.float32), row)
