"""A smoke-trained starter, made once per session: tiny widths, procedural shapes, the real recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from icg import starter
from icg.data.art import procedural
from icg.train.starter import Run, smoke


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, float]]:
    """The finished run and its last losses."""
    run = Run(tmp_path_factory.mktemp("smoke"), smoke(), procedural())
    return run, run.all()


@pytest.fixture(scope="session")
def small(smoke_run: tuple[Run, dict[str, float]]) -> starter.Starter:
    """The smoke run's starter folder, loaded."""
    return starter.load(smoke_run[0].starter)


@pytest.fixture(scope="session")
def small_root(smoke_run: tuple[Run, dict[str, float]]) -> Path:
    """The smoke run's starter folder."""
    return smoke_run[0].starter
