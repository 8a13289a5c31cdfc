"""A smoke-trained starter, trained once a session: tiny widths, procedural shapes, the real recipe."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from icg import starter
from icg.data.art import procedural
from icg.models.vlm import load
from icg.train.starter.recipe import Run, smoke

from tests.unit.icg.pipelines import covers, one_thread, opened, single_thread

__all__ = ["covers", "one_thread", "opened"]


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, float]]:
    """The finished run and its last losses."""
    run = Run(tmp_path_factory.mktemp("smoke"), smoke(), procedural())
    with single_thread():
        return run, run.all()


@pytest.fixture(scope="session")
def small(smoke_run: tuple[Run, dict[str, float]]) -> starter.Starter:
    """The smoke run's starter folder, loaded."""
    return starter.load(smoke_run[0].starter)


@pytest.fixture(scope="session")
def small_root(smoke_run: tuple[Run, dict[str, float]]) -> Path:
    """The smoke run's starter folder."""
    return smoke_run[0].starter


@pytest.fixture(scope="session")
def vlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint folder of a family of `tiny_vlm`."""
    from tests.unit.icg import tiny_vlm

    return functools.cache(lambda name: tiny_vlm.save(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def vlm_of(vlm_folder: Callable[[str], Path]) -> Callable[[str], tuple[Any, Any]]:
    """(model, processor) of a family of `tiny_vlm`, loaded like a full-size checkpoint."""
    return functools.cache(lambda name: load(vlm_folder(name)))
