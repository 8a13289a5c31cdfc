"""Twice and five times as many calls as a server can answer: it goes on answering what it can, and health is heard."""

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.fast_path import fill
from benchmarks.overload import USERS, overload
from tests.faults.table import Row, Table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_an_overloaded_server_answers_what_it_can(tmp_path: Path, table: Table) -> None:
    """The bounds are half of the budget: client, server and other work share the cores of a test."""
    await fill(tmp_path, USERS)
    result = await overload(tmp_path, Namespace(seconds=2.0, deadline=1.0))
    good = [result[f"goodput_ratio_at_{times}x"] for times in (2, 5)]
    assert min(good) > 0.4
    assert result["refusal_ms_p99"] < 50
    assert result["health_ms_p99_at_5x"] < 250
    text = f"{good[0]:.2f} and {good[1]:.2f} of the capacity, refusals {result['refusal_ms_p99']:.0f} ms, health "
    text += f"{result['health_ms_p99_at_5x']:.0f} ms (p99)"
    table.add("2 and 5 times the calls of its capacity", Row("as many answers in time as without", text))
