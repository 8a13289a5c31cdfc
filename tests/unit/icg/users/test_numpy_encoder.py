"""The user encoder without torch: the same numbers as the trained module."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from icg import starter
from icg.data.behaviour import CLICK, DISLIKE, DWELL, LIKE
from icg.errors import CheckpointError
from icg.users.cold_start import TasteMixture
from icg.users.encoder import Events, UserConfig, UserEncoder
from icg.users.numpy_encoder import TOKENS, Histories, UserReader, version

SHIPPED = starter.path() / "users"


def histories(lengths: list[int], seed: int = 0, padding: int = 0) -> Histories:
    rng = np.random.default_rng(seed)
    size = (len(lengths), max([1, *lengths]) + padding)
    table = rng.standard_normal((40, 64)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    return Histories(
        table,
        rng.integers(0, 40, size),
        rng.integers(2, 7, size),
        rng.integers(0, 100_000, size),
        1e9 + np.cumsum(rng.exponential(5_000, size), 1),
        np.array(lengths),
    )


def by_torch(encoder: UserEncoder, h: Histories) -> np.ndarray:
    embeddings: np.ndarray = encoder.encode(Events.of(h.table[h.cover], h.action, h.dwell_ms, h.time, h.length)).numpy()
    return embeddings


@pytest.mark.parametrize("layers", [0, 1, 3], ids=["shipped", "one layer", "three layers"])
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(0, 32), min_size=1, max_size=9), seed=st.integers(0, 99), padding=st.integers(0, 5))
def test_it_reads_as_the_module_does(layers: int, lengths: list[int], seed: int, padding: int) -> None:
    if layers:
        torch.manual_seed(seed)
        module = UserEncoder(UserConfig(width=32, layers=layers, heads=2)).eval()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        weights = {name: w.numpy() for name, w in module.state_dict().items()}
        mixture = TasteMixture(np.eye(2, 64, dtype=np.float32), np.full(2, 0.5, np.float32), 3.0, 3.0)
        reader = UserReader({"embedding": 64, "layers": layers, "heads": 2}, weights, mixture)
    else:
        module, reader = UserEncoder.from_pretrained(SHIPPED), UserReader.from_pretrained(SHIPPED)
    events = histories(lengths, seed, padding)
    np.testing.assert_allclose(reader.encode(events), by_torch(module, events), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 32), min_size=1, max_size=TOKENS // 8),
    seed=st.integers(0, 99),
    padding=st.integers(0, 5),
)
def test_users_read_together_are_read_as_alone_to_the_last_bit(lengths: list[int], seed: int, padding: int) -> None:
    reader = UserReader.from_pretrained(SHIPPED)
    events = histories(lengths, seed, padding)
    together = reader(events)
    for row in range(
        0, len(lengths), max(1, len(lengths) // 16)
    ):  # some of hundreds, including the ends of memory blocks
        np.testing.assert_array_equal(reader(events.take(np.array([row]), events.cover.shape[1]))[0], together[row])


ALONE_AND_TOGETHER = """
import numpy as np
from icg.users.numpy_encoder import UserReader
from tests.unit.icg.users.test_numpy_encoder import SHIPPED, histories
reader, given = UserReader.from_pretrained(SHIPPED), histories([1, 1, 5, 8, 9, 20, 20, 31, 32, 32])
together = reader(given)
for row in range(len(together)):
    np.testing.assert_array_equal(reader(given.take(np.array([row]), given.cover.shape[1]))[0], together[row])
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels by the names of x86-64 processors")
def test_to_the_last_bit_also_with_kernels_for_older_processors() -> None:
    """On these processors a sum depends on a row's place in its block; on newer ones it does not."""
    environ = os.environ | {"OPENBLAS_CORETYPE": "Haswell"}
    subprocess.run([sys.executable, "-c", ALONE_AND_TOGETHER], check=True, env=environ)


def test_embeddings_shorten_with_fewer_features_and_are_zero_without_any() -> None:
    reader = UserReader.from_pretrained(SHIPPED)
    near = np.argsort(-reader.mixture.centroids @ reader.mixture.centroids[0])[:32]  # one taste, many covers
    cover = np.tile(np.arange(32), (4, 1))
    known = np.array([0, 1, 8, 32])
    events = Histories(reader.mixture.centroids[near], cover, np.full_like(cover, LIKE), cover * 0, cover * 9.0, known)
    norms = np.linalg.norm(reader(events), axis=1)
    assert norms[0] == 0
    assert norms[1] < norms[2] < norms[3] <= 1 + 1e-6


def test_a_cover_speaks_once_however_often_it_was_engaged_with() -> None:
    table = np.eye(3, 64, dtype=np.float32)
    action = np.array([[CLICK, LIKE, DISLIKE, DWELL, CLICK, CLICK]])
    cover = np.array([[0, 0, 1, 2, 0, 2]])
    total, count = Histories(table, cover, action, action, action * 1.0, np.array([5])).evidence()
    np.testing.assert_array_equal(total[0], table[0] - table[1])
    assert count.tolist() == [2], "dwell alone is no evidence, and the last event is padding"


def test_versions_tell_weights_and_cover_spaces_apart(tmp_path: Path) -> None:
    for part in ("users", "space"):
        shutil.copytree(starter.path() / part, tmp_path / part)
    first = version(tmp_path)
    assert first == version(starter.path())
    assert 2 <= first <= 65_535
    versions = {first}
    for path in (
        "users/model.safetensors",
        "users/mixture.safetensors",
        "space/projection.safetensors",
    ):
        data = bytearray((tmp_path / path).read_bytes())
        data[-1] ^= 1
        (tmp_path / path).write_bytes(data)
        versions.add(version(tmp_path))
    assert len(versions) == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"embedding": 32, "layers": 2, "heads": 4}'),
        ("config.json", "{"),
        ("config.json", "{}"),
        ("config.json", '{"embedding": 64, "layers": 9, "heads": 4}'),
        ("model.safetensors", "no"),
        ("config.json", ""),
        ("model.safetensors", None),
        ("mixture.safetensors", None),
    ],
)
def test_broken_folders_are_refused(tmp_path: Path, name: str, text: str | None) -> None:
    shutil.copytree(SHIPPED, tmp_path / "users")
    path = tmp_path / "users" / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(CheckpointError, match="users"):
        UserReader.from_pretrained(tmp_path / "users")


def test_torch_is_not_imported() -> None:
    code = "import sys; from icg.users.numpy_encoder import UserReader, version; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
