"""A small part of `python -m tests.fuzz_imports`."""

from pathlib import Path

from tests.fuzz_imports import fuzz


def test_damaged_tables_and_pictures_are_stored_or_refused_with_a_reason(tmp_path: Path) -> None:
    outcomes, failures = fuzz(tmp_path, 350, 350, seed=1)
    assert failures == []
    assert outcomes.total() == 700
    assert set(outcomes) == {
        "all rows stored",
        "rows refused or unread",
        "table refused",
        "picture stored",
        "picture refused",
    }
