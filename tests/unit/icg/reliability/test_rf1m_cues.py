"""Cues of RF1M pictures: computed once, stored, and complete after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from icg.data.catalogue import RowReport
from icg.data.shards import Shards
from icg.errors import IcgError
from icg.reliability.rf1m import CueCache
from PIL import Image

from tests.unit.icg.reliability.archive_files import all_of, data_set, gradient


def test_cues_are_computed_once_for_each_model_and_picture(tmp_path: Path) -> None:
    calls: list[float] = []

    def counted(scale: float, picture: Image.Image) -> np.ndarray:
        calls.append(scale)
        return gradient(scale, picture)

    examples, _ = all_of(data_set(tmp_path / "data"))
    cache = CueCache(tmp_path / "cues", "gradient", 1.0, counted)
    assert cache.compute(examples, RowReport()) == len(examples) == len(calls) == 5
    for _ in range(2):
        cache = CueCache(tmp_path / "cues", "gradient", 1.0, counted)
        for example in examples:
            cue = cache.of(example)
            assert cue.dtype == torch.float16
            np.testing.assert_array_equal(cue.numpy(), gradient(1.0, example.picture))
    assert len(calls) == 5
    half = CueCache(tmp_path / "cues", "half the gradient", 0.5, counted)
    assert half.of(examples[0]).max() == 0.5
    half.store.flush()
    assert CueCache(tmp_path / "cues", "gradient", 1.0, counted).of(examples[0]).max() == 1
    renamed, _ = all_of(data_set(tmp_path / "data", "p.tar"))
    assert CueCache(tmp_path / "cues", "gradient", 1.0, counted).compute(renamed, RowReport()) == 5
    assert len(calls) == 6


@pytest.mark.parametrize(
    "wrong",
    [np.full((4, 4), 1.5), np.full((4, 4), np.nan), np.zeros((4, 4, 1)), np.zeros((0, 4)), np.full((4, 4), -0.1)],
)
def test_an_unknown_cue_is_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    examples, _ = all_of(data_set(tmp_path / "data"))
    cache, tally = CueCache(tmp_path / "cues", "odd", None, lambda *_: wrong), RowReport()
    with pytest.raises(IcgError, match=r"cue 'odd' of '000_0'.*allowed: \(H, W\) in 0..1"):
        cache.of(examples[0])
    assert cache.compute(examples, tally) == 0
    assert tally.refused == {"a cue out of range": 5}


KILLED = """
import sys
from pathlib import Path
from icg.reliability.rf1m import CueCache
from tests.unit.icg.reliability.archive_files import all_of, data_set, gradient
found, _ = all_of(data_set(Path(sys.argv[1]), count=60, classes=6))
cache = CueCache(Path(sys.argv[2]), "gradient", 1.0, gradient, shard=5)
for n, one in enumerate(found):
    cache.of(one)
    if n == 23:
        print("on the way", flush=True)
        sys.stdin.read()
"""


def test_after_kill_9_finished_shards_are_not_computed_again(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(tmp_path / "cues")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"on the way\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stdin.close()
    calls: list[int] = []

    def counted(scale: float, picture: Image.Image) -> np.ndarray:
        calls.append(1)
        return gradient(scale, picture)

    examples, _ = all_of(data_set(tmp_path / "data", count=60, classes=6))
    cache = CueCache(tmp_path / "cues", "gradient", 1.0, counted, shard=5)
    assert len(cache.store) == 20
    assert cache.compute(examples, RowReport()) == 60
    assert len(calls) == 40
    assert len(Shards(cache.store.folder)) == 60
    np.testing.assert_array_equal(cache.of(examples[3]).numpy(), gradient(1.0, examples[3].picture))
